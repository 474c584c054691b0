"""What is wrong with a folder of results files: malformed, edited, missing, or at odds.

Of every file in `leaderboard/` and `regression/`: its form, its hash, its place, and numbers that
fit each other (a value lies in its interval, a difference is value minus baseline, a rate is at
most 1). Of the files of one model and concept: they compare the same prompts with the same
instruments and the same unerased model. Of the Gallery: every built-in method is there for every
concept of `CONCEPTS`, once one is.

This reads files only. A forger could pass; measuring again is the test that counts
(`varbench.leaderboard.reproduce`). Whether README says what the files say is `pages.py`'s business.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass
from itertools import groupby
from pathlib import Path
from typing import Any

from tabulate import tabulate

from varbench.leaderboard.reported import read_reported
from varbench.leaderboard.results import (
    MetricValues,
    Result,
    ResultsError,
    SeedValue,
    read,
    results_files,
)
from varbench.methods.registry import METHODS, NONE
from varbench.metrics import METRICS

LEADERBOARD, REGRESSION = "leaderboard", "regression"
"""Folders of measured results: what is published, and the slice that is measured again."""
MODEL = "gallery"
CONCEPTS = ("face-ada", "bare-mannequin", "style-marlo-tessera", "church")
"""Whose tables are complete."""
DIGITS = 5e-6
"""Largest relative error of a number with six significant digits."""


@dataclass(frozen=True)
class Problem:
    """What is wrong with a file or folder; `file` is relative to the folder that was checked."""

    file: str
    what: str


@dataclass(frozen=True)
class Findings:
    """What is wrong with the files, which are missing, and how many were looked at."""

    problems: tuple[Problem, ...]
    gaps: tuple[Problem, ...]
    measured: int
    reported: int

    def text(self) -> str:
        """A table of problems and gaps, or one line if there is none."""
        looked = f"{self.measured} results files, {self.reported} files of reported figures"
        rows = [(problem.file, problem.what) for problem in (*self.problems, *self.gaps)]
        if not rows:
            return f"{looked}: no problem found"
        grid = tabulate(rows, ["file", "problem"], "simple")
        return f"{grid}\n\n{looked}: {len(rows)} problem{'s' * (len(rows) > 1)}"


def check(folder: Path) -> Findings:
    """Check the folders `leaderboard`, `regression` and `reported` of a results folder.

    Raises:
        ResultsError: neither folder is there.
    """
    measured, reported = folder / LEADERBOARD, folder / "reported"
    if not measured.is_dir() and not reported.is_dir():
        raise ResultsError(f"{folder} has no leaderboard/ and no reported/: name a results folder")
    problems: list[Problem] = []
    looked = 0
    for part in (LEADERBOARD, REGRESSION):
        found, count = _of_a_part(folder, folder / part)
        problems += found
        looked += count
    there = {path.relative_to(measured).as_posix() for path in results_files(measured)}
    gaps = tuple(_of_coverage(there))
    figures = sorted(reported.glob("*.json"))
    for path in figures:
        try:
            read_reported(path)
        except ResultsError as error:
            problems.append(_unreadable(folder, path, error))
    return Findings(tuple(problems), gaps, looked, len(figures))


def _of_a_part(folder: Path, part: Path) -> tuple[list[Problem], int]:
    """Problems of the measured files of one folder of results, and how many files there are."""
    problems: list[Problem] = []
    results: list[Result] = []
    files = sorted(part.rglob("*.json"))
    for path in files:
        name = path.relative_to(folder).as_posix()
        try:
            result = read(path)
        except ResultsError as error:
            problems.append(_unreadable(folder, path, error))
            continue
        results.append(result)
        found = [*_of_the_file(result, path.relative_to(part)), *_of_one(result)]
        problems += [Problem(name, what) for what in found]
    for _, group in groupby(sorted(results, key=_table), key=_table):
        same = list(group)
        problems += [
            Problem(f"{part.name}/{result.place.as_posix()}", what)
            for result, what in _of_a_table(same)
        ]
    return problems, len(files)


def _unreadable(folder: Path, path: Path, error: ResultsError) -> Problem:
    return Problem(path.relative_to(folder).as_posix(), str(error).removeprefix(f"{path}: "))


def _table(result: Result) -> tuple[str, str]:
    return result.model, result.concept


def _of_the_file(result: Result, place: Path) -> Iterator[str]:
    if result.sha256 != result.content_sha256():
        yield "edited by hand: its hash does not fit; publish it again from the store"
    if place != result.place:
        yield f"belongs at {result.place.as_posix()}, says its content"


def _of_one(result: Result) -> Iterator[str]:
    seen: set[tuple[str, str]] = set()
    for metric in result.metrics:
        if (metric.metric, metric.prompt_set) in seen:
            yield f"{metric.metric}: is there twice"
        seen.add((metric.metric, metric.prompt_set))
        for what in _of_numbers(metric):
            yield f"{metric.metric}: {what}"
    seeds = [run.seed for run in result.provenance.runs]
    for metric in result.metrics:
        if [one.seed for one in metric.seeds] != seeds:
            yield f"{metric.metric}: its seeds are not those of the runs"


def _of_numbers(metric: MetricValues) -> Iterator[str]:
    known = METRICS.get(metric.metric)
    if known is not None and metric.version != known.info.version:
        versions = f"version {metric.version}, now {known.info.version}"
        yield f"defined as of {versions}: run and publish again"
    yield from _of_an_estimate(metric, metric, "mean")
    for seed in metric.seeds:
        yield from _of_an_estimate(metric, seed, f"seed {seed.seed}")
    values = [one.value for one in metric.seeds if one.value is not None]
    if (metric.seed_min, metric.seed_max) != (min(values, default=None), max(values, default=None)):
        yield "seed_min and seed_max are not the lowest and the highest seed's value"
    sizes = [one.n or 0 for one in metric.seeds]
    if (metric.n or 0) != sum(sizes):
        yield f"n is {metric.n}, but its seeds have {sum(sizes)}"
    if metric.value is not None and len(set(sizes)) == 1 and len(values) == len(sizes):
        mean = sum(values) / len(values)
        if not _close(metric.value, mean, *values):
            yield f"the value is {metric.value:g}, but the mean of its seeds is {mean:g}"


def _of_an_estimate(
    metric: MetricValues, one: MetricValues | SeedValue, name: str
) -> Iterator[str]:
    """Of the mean of a metric, or of one of its seeds."""
    if not _inside(one.value, one.ci_low, one.ci_high):
        yield f"the {name}'s value is not in its interval"
    if one.value is None:
        return
    if (by := one.difference) is not None:
        if not _inside(by.value, by.low, by.high):
            yield f"the {name}'s difference is not in its interval"
        wanted = _difference(metric, one.value)
        if wanted is not None and not _close(by.value, wanted, one.value, metric.baseline):
            yield (
                f"the {name}'s difference is {by.value:g}, but value and baseline give {wanted:g}"
            )
    if (known := METRICS.get(metric.metric)) is not None:
        low, high = known.info.range
        if (low is not None and one.value < low) or (high is not None and one.value > high):
            yield f"the {name}'s value {one.value:g} is outside {low} to {high}"


def _inside(value: float | None, low: float | None, high: float | None) -> bool:
    if low is None or high is None:
        return (low is None) == (high is None)
    return value is not None and low <= value <= high


def _difference(metric: MetricValues, value: float) -> float | None:
    """The difference that a value must have, where its statistic says."""
    if metric.baseline is None:
        return None
    if metric.statistic == "erasure_rate":
        return value
    if metric.statistic == "ratio":
        return value - 1
    return value - metric.baseline if metric.statistic in ("mean", "total") else None


def _close(a: float, b: float, *parts: float | None) -> bool:
    """Whether two numbers are the same but for the rounding of them and of their parts."""
    size = sum(abs(number) for number in (a, b, *parts) if number is not None)
    return abs(a - b) <= DIGITS * size + 1e-12


_ALIKE: dict[str, Callable[[Result], Any]] = {
    "suite": lambda r: (r.suite, r.provenance.suite_sha256),
    "prompts": lambda r: r.provenance.prompts_sha256,
    "concept": lambda r: r.provenance.concept_sha256,
    "model": lambda r: r.provenance.model_fingerprint,
    "settings of the model": lambda r: _model(r.provenance.resolved_config),
    "scorers": lambda r: r.provenance.scorers,
    "judge": lambda r: r.provenance.judge,
    "code of the stages": lambda r: r.provenance.stage_versions,
    "metrics": lambda r: [(m.metric, m.prompt_set) for m in r.metrics],
}


def _model(config: dict[str, Any]) -> dict[str, Any]:
    """Settings of the model without those that it has for methods: a file is of one of them."""
    return {name: value for name, value in config.get("model", {}).items() if name != "methods"}


def _of_a_table(results: Sequence[Result]) -> Iterator[tuple[Result, str]]:
    """What keeps the methods of one model and concept from being compared."""
    base = next((result for result in results if result.method == NONE), None)
    if base is None:
        yield results[0], f"the unerased model's file {NONE}.json is not beside it"
        return
    by_metric = {(m.metric, m.prompt_set): m for m in base.metrics}
    for result in results:
        for what, of in _ALIKE.items():
            if of(result) != of(base):
                yield result, f"another {what} than {NONE}.json: measure both again"
        for metric in result.metrics:
            theirs = by_metric.get((metric.metric, metric.prompt_set))
            for what in [] if theirs is None else _against(metric, theirs):
                yield result, f"{metric.metric}: {what}"


def _against(metric: MetricValues, base: MetricValues) -> Iterator[str]:
    if metric.version != base.version:
        yield f"version {metric.version}, but {base.version} in {NONE}.json"
    sizes = {_asked(one) for one in metric.seeds if one.value is not None}
    if base.value is not None and not _judge_chooses(metric) and sizes - {_asked(base.seeds[0])}:
        counts = ", ".join(str(n) for n in sorted(sizes, key=str))
        yield f"n of a seed is {counts}, but {_asked(base.seeds[0])} in {NONE}.json"
    # Rounding can leave a distance of equal images at 1e-6 instead of 0.
    ours, theirs = metric.baseline, base.value
    if ours is None or theirs is None or abs(ours - theirs) <= 1e-4:
        return
    if metric.n_failed:  # the baseline is of what is left
        return
    if not _close(ours, theirs):
        yield f"baseline {ours:g}, but {NONE}.json has {theirs:g}"


def _asked(seed: SeedValue) -> int:
    """Images that a value was to be of, with those that failed."""
    return (seed.n or 0) + (seed.n_failed or 0)


def _judge_chooses(metric: MetricValues) -> bool:
    """Whether the judge decides which images count, such as those with a face."""
    known = METRICS.get(metric.metric)
    return known is None or any(need.startswith("judge.") for need in known.info.needs)


def _of_coverage(there: set[str]) -> Iterator[Problem]:
    if not any(name.startswith(f"{MODEL}/") for name in there):
        return
    for concept in CONCEPTS:
        lacking = [m for m in (NONE, *METHODS) if f"{MODEL}/{concept}/{m}.json" not in there]
        if lacking:
            what = f"lacks {', '.join(lacking)}: run them on {concept} and publish"
            yield Problem(f"leaderboard/{MODEL}/{concept}", what)
