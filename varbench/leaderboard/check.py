"""Checks of a results folder: files that are malformed, edited, missing, or at odds.

Of every file in `leaderboard/` and `regression/`: its form, its hash, its path, and numbers that
fit each other (a value lies in its interval, a difference is value minus baseline, a rate is at
most 1). Of the files of one model and concept: they compare the same prompts, scored by the same
scorers, with the same base model. Of the Gallery: once one built-in method is there for a concept
of `CONCEPTS`, all are.

Files are only read. A forger could pass; measuring again is the test that counts
(`varbench.leaderboard.reproduce`).
"""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass
from itertools import groupby
from operator import attrgetter
from pathlib import Path
from typing import Any, NamedTuple

from tabulate import tabulate

from varbench.leaderboard.check_numbers import check_numbers, close
from varbench.leaderboard.json_files import ResultsError
from varbench.leaderboard.reported import read_reported
from varbench.leaderboard.results import (
    EDITED,
    MetricValues,
    Result,
    SeedValue,
    read,
    results_files,
)
from varbench.methods.registry import METHODS, NONE
from varbench.metrics import METRICS
from varbench.pipeline.compatibility import GALLERY

LEADERBOARD, REGRESSION = "leaderboard", "regression"
"""Folders of measured results: what is published, and the slice that is measured again."""
CONCEPTS = ("face-ada", "bare-mannequin", "style-marlo-tessera", "church")
"""Concepts of the Gallery whose tables are complete."""


class Problem(NamedTuple):
    """A problem of a file or folder; `file` is relative to the folder that was checked."""

    file: str
    message: str


@dataclass(frozen=True)
class Findings:
    """Problems of the files, files that are missing, and how many were checked."""

    problems: tuple[Problem, ...]
    gaps: tuple[Problem, ...]
    measured: int
    reported: int

    def text(self) -> str:
        """A table of problems and gaps, or one line if there is none."""
        checked = f"{self.measured} results files, {self.reported} files of reported figures"
        rows = [*self.problems, *self.gaps]
        if not rows:
            return f"{checked}: no problem found"
        grid = tabulate(rows, ["file", "problem"], "simple")
        return f"{grid}\n\n{checked}: {len(rows)} problem{'s' * (len(rows) > 1)}"


def check(folder: Path) -> Findings:
    """Check the folders `leaderboard`, `regression` and `reported` of a results folder.

    Raises:
        ResultsError: the folder has neither `leaderboard` nor `reported`.
    """
    measured, reported = folder / LEADERBOARD, folder / "reported"
    if not measured.is_dir() and not reported.is_dir():
        raise ResultsError(f"{folder} has no leaderboard/ and no reported/: name a results folder")
    problems: list[Problem] = []
    files = {part: sorted(part.rglob("*.json")) for part in (measured, folder / REGRESSION)}
    for part, paths in files.items():
        problems += _check_part(folder, part, paths)
    for path in (figures := sorted(reported.glob("*.json"))):
        try:
            read_reported(path)
        except ResultsError as error:
            problems.append(_unreadable(folder, path, error))
    gaps = _gaps({path.relative_to(measured).as_posix() for path in results_files(measured)})
    return Findings(tuple(problems), tuple(gaps), sum(map(len, files.values())), len(figures))


def _check_part(folder: Path, part: Path, paths: Sequence[Path]) -> Iterator[Problem]:
    """Problems of `leaderboard/` or `regression/`: of each file, then of each table."""
    results: list[Result] = []
    for path in paths:
        try:
            result = read(path)
        except ResultsError as error:
            yield _unreadable(folder, path, error)
            continue
        results.append(result)
        for message in _check_result(result, path.relative_to(part)):
            yield Problem(path.relative_to(folder).as_posix(), message)
    table_of = attrgetter("model", "concept")
    for _, table in groupby(sorted(results, key=table_of), key=table_of):
        for result, message in _check_table(list(table)):
            yield Problem(f"{part.name}/{result.path.as_posix()}", message)


def _unreadable(folder: Path, path: Path, error: ResultsError) -> Problem:
    return Problem(path.relative_to(folder).as_posix(), str(error).removeprefix(f"{path}: "))


def _check_result(result: Result, path: Path) -> Iterator[str]:
    if result.sha256 != result.content_sha256():
        yield EDITED
    if path != result.path:
        yield f"belongs at {result.path.as_posix()}, says its content"
    seeds = [run.seed for run in result.provenance.runs]
    names: set[tuple[str, str]] = set()
    for metric in result.metrics:
        if (metric.metric, metric.prompt_set) in names:
            yield f"{metric.metric}: occurs twice"
        names.add((metric.metric, metric.prompt_set))
        for message in check_numbers(metric):
            yield f"{metric.metric}: {message}"
        if [seed.seed for seed in metric.seeds] != seeds:
            yield f"{metric.metric}: its seeds are not those of the runs"


_SHARED: dict[str, Callable[[Result], Any]] = {
    "suite": lambda r: (r.suite, r.provenance.suite_sha256),
    "prompts": lambda r: r.provenance.prompts_sha256,
    "concept": lambda r: r.provenance.concept_sha256,
    "model": lambda r: r.provenance.model_fingerprint,
    # Without the model's settings of methods: a file is of one method.
    "settings of the model": lambda r: {
        name: value
        for name, value in r.provenance.resolved_config.get("model", {}).items()
        if name != "methods"
    },
    "scorers": lambda r: r.provenance.scorers,
    "judge": lambda r: r.provenance.judge,
    "code of the stages": lambda r: r.provenance.stage_versions,
    "metrics": lambda r: [(m.metric, m.prompt_set) for m in r.metrics],
}
"""Everything that the methods of one table must share to be compared."""


def _check_table(results: Sequence[Result]) -> Iterator[tuple[Result, str]]:
    """Differences that keep the methods of one model and concept from being compared."""
    base = next((result for result in results if result.method == NONE), None)
    if base is None:
        yield results[0], f"the base model's file {NONE}.json is missing next to it"
        return
    base_metrics = {(m.metric, m.prompt_set): m for m in base.metrics}
    for result in results:
        for name, of in _SHARED.items():
            if of(result) != of(base):
                yield result, f"another {name} than {NONE}.json: measure both again"
        for metric in result.metrics:
            other = base_metrics.get((metric.metric, metric.prompt_set))
            for message in [] if other is None else _compare(metric, other):
                yield result, f"{metric.metric}: {message}"


def _compare(metric: MetricValues, base: MetricValues) -> Iterator[str]:
    if metric.version != base.version:
        yield f"version {metric.version}, but {base.version} in {NONE}.json"
    sizes = {_images(seed) for seed in metric.seeds if seed.value is not None}
    expected = _images(base.seeds[0])
    if base.value is not None and not _judge_chooses(metric) and sizes - {expected}:
        counts = ", ".join(str(n) for n in sorted(sizes))
        yield f"n of a seed is {counts}, but {expected} in {NONE}.json"
    # Rounding can leave a distance of equal images at 1e-6 instead of 0.
    ours, theirs = metric.baseline, base.value
    if ours is None or theirs is None or abs(ours - theirs) <= 1e-4:
        return
    # Where images failed, the baseline is of those that are left.
    if not metric.n_failed and not close(ours, theirs):
        yield f"baseline {ours:g}, but {NONE}.json has {theirs:g}"


def _images(seed: SeedValue) -> int:
    return (seed.n or 0) + (seed.n_failed or 0)


def _judge_chooses(metric: MetricValues) -> bool:
    """True if the judge decides which images count, such as those with a face."""
    known = METRICS.get(metric.metric)
    return known is None or any(need.startswith("judge.") for need in known.info.needs)


def _gaps(files: set[str]) -> Iterator[Problem]:
    if not any(name.startswith(f"{GALLERY}/") for name in files):
        return
    for concept in CONCEPTS:
        absent = [m for m in (NONE, *METHODS) if f"{GALLERY}/{concept}/{m}.json" not in files]
        if absent:
            message = f"lacks {', '.join(absent)}: run them on {concept} and publish"
            yield Problem(f"leaderboard/{GALLERY}/{concept}", message)
