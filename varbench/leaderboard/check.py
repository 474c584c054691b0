"""Checks of a results folder: files that are malformed, edited, missing, or at odds.

Of every file in `leaderboard/` and `regression/`: its form, its hash, its path, and that its rows
give its numbers. Of the files of one model and concept: they compare the same prompts, scored by
the same scorers, with the same base model. Of the Gallery: once one built-in method is there for a
concept of `CONCEPTS`, all are. Superseded files are only counted, once their form, hash and path
are right.

Files are only read. A forger could pass; measuring again is the test that counts
(`varbench.leaderboard.reproduce`).
"""

from __future__ import annotations

import math
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from itertools import groupby
from operator import attrgetter
from pathlib import Path
from typing import NamedTuple

from tabulate import tabulate

from varbench.leaderboard.json_files import ResultsError
from varbench.leaderboard.renew import mismatches, recomputed
from varbench.leaderboard.reported import read_reported
from varbench.leaderboard.results import (
    EDITED,
    SUPERSEDED,
    MetricValues,
    Result,
    read,
    results_files,
)
from varbench.leaderboard.rows import Published, read_rows
from varbench.methods.registry import METHODS, NONE
from varbench.metrics import METRICS
from varbench.pipeline.compatibility import GALLERY
from varbench.report.settings import differences

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
    """Problems of the files, files that are missing, and how many were checked.

    `superseded` files are among the `measured`.
    """

    problems: tuple[Problem, ...]
    gaps: tuple[Problem, ...]
    measured: int
    superseded: int
    reported: int

    def text(self) -> str:
        """A table of problems and gaps, or one line if there is none."""
        superseded = f" ({self.superseded} superseded)" if self.superseded else ""
        results = f"{self.measured} results files{superseded}"
        checked = f"{results}, {self.reported} files of reported figures"
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
    results: list[Result] = []
    for part in (measured, folder / REGRESSION):
        of_part, wrong = _read_part(folder, part)
        results += of_part
        problems += [*wrong, *_check_part(part, of_part)]
    for path in (figures := sorted(reported.glob("*.json"))):
        try:
            read_reported(path)
        except ResultsError as error:
            problems.append(_unreadable(folder, path, error))
    gaps = _gaps({path.relative_to(measured).as_posix() for path in results_files(measured)})
    superseded = sum(result.status == SUPERSEDED for result in results)
    return Findings(tuple(problems), tuple(gaps), len(results), superseded, len(figures))


def _read_part(folder: Path, part: Path) -> tuple[list[Result], list[Problem]]:
    """Files of `leaderboard/` or `regression/`, and problems of reading them."""
    results, problems = [], []
    for path in sorted(part.rglob("*.json")):
        name = path.relative_to(folder).as_posix()
        try:
            result = read(path)
        except ResultsError as error:
            problems.append(_unreadable(folder, path, error))
            continue
        results.append(result)
        if result.sha256 != result.content_sha256():
            problems.append(Problem(name, EDITED))
        if path.relative_to(part) != result.path:
            problems.append(Problem(name, f"belongs at {result.path.as_posix()}, says its content"))
    return results, problems


def _check_part(part: Path, results: Sequence[Result]) -> Iterator[Problem]:
    """Problems of the measured results of a part: of their numbers, then of each table."""
    measured = [result for result in results if result.status != SUPERSEDED]
    published: list[Published] = []
    for result in measured:
        try:
            published.append((result, read_rows(part, result)))
        except ResultsError as error:
            yield _unreadable(part.parent, part / result.rows_path, error)
    again: dict[Path, Result] = {}
    if len(published) == len(measured):  # else the variance between edits is not theirs
        again = {result.path: result for result in recomputed(published)}
    for result in measured:
        for message in _check_result(result, again.get(result.path)):
            yield Problem(f"{part.name}/{result.path.as_posix()}", message)
    table_of = attrgetter("model", "concept")
    for _, table in groupby(sorted(measured, key=table_of), key=table_of):
        for result, message in _check_table(list(table)):
            yield Problem(f"{part.name}/{result.path.as_posix()}", message)


def _unreadable(folder: Path, path: Path, error: ResultsError) -> Problem:
    return Problem(path.relative_to(folder).as_posix(), str(error).removeprefix(f"{path}: "))


def _check_result(result: Result, again: Result | None) -> Iterator[str]:
    seeds = [run.seed for run in result.provenance.runs]
    names: set[tuple[str, str]] = set()
    for i, metric in enumerate(result.metrics):
        if (metric.metric, metric.prompt_set) in names:
            yield f"{metric.metric}: occurs twice"
        names.add((metric.metric, metric.prompt_set))
        known = METRICS.get(metric.metric)
        if known is not None and metric.version != known.info.version:
            versions = f"version {metric.version}, now {known.info.version}"
            yield f"{metric.metric}: defined as of {versions}: run and publish again"
        for message in () if again is None else mismatches(metric, again.metrics[i]):
            yield f"{metric.metric}: {message}"
        if [seed.seed for seed in metric.seeds] != seeds:
            yield f"{metric.metric}: its seeds are not those of the runs"


def _check_table(results: Sequence[Result]) -> Iterator[tuple[Result, str]]:
    """Differences that keep the methods of one model and concept from being compared."""
    base = next((result for result in results if result.method == NONE), None)
    if base is None:
        yield results[0], f"the base model's file {NONE}.json is missing next to it"
        return
    base_metrics = {(m.metric, m.prompt_set): m for m in base.metrics}
    for result in results:
        if by := differences(result.conditions, [base.conditions]):
            yield result, f"not measured as {NONE}.json was ({by}): measure both again"
        metrics = {(m.metric, m.prompt_set): m for m in result.metrics}
        for name in sorted(metrics.keys() ^ base_metrics.keys()):
            yield result, f"{name[0]}: only here or only in {NONE}.json: measure both again"
        for name in sorted(metrics.keys() & base_metrics.keys()):
            for message in _compare(metrics[name], base_metrics[name]):
                yield result, f"{name[0]}: {message}"


def _compare(metric: MetricValues, base: MetricValues) -> Iterator[str]:
    if metric.version != base.version:
        yield f"version {metric.version}, but {base.version} in {NONE}.json"
    ours, theirs = metric.baseline, base.value
    # Where images failed, the baseline is of those that are left.
    if ours is None or theirs is None or metric.n_failed:
        return
    # Rounding can leave a distance of equal images at 1e-6 instead of 0.
    if not math.isclose(ours, theirs, rel_tol=1e-5, abs_tol=1e-4):
        yield f"baseline {ours:g}, but {NONE}.json has {theirs:g}"


def _gaps(files: set[str]) -> Iterator[Problem]:
    if not any(name.startswith(f"{GALLERY}/") for name in files):
        return
    for concept in CONCEPTS:
        absent = [m for m in (NONE, *METHODS) if f"{GALLERY}/{concept}/{m}.json" not in files]
        if absent:
            message = f"lacks {', '.join(absent)}: run them on {concept} and publish"
            yield Problem(f"leaderboard/{GALLERY}/{concept}", message)
