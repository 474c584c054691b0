"""Published results, measured again by the commands in their files, and compared.

A number has changed if it moved by more than rounding may move it (`tolerance`).
"""

from __future__ import annotations

import shlex
from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import NamedTuple

from tabulate import tabulate

from varbench.data import own_files
from varbench.leaderboard.json_files import ResultsError
from varbench.leaderboard.publish import results_of, settings_of
from varbench.leaderboard.results import MetricValues, Result
from varbench.pipeline.context import RunContext
from varbench.pipeline.plan import Request, plan
from varbench.pipeline.run import run
from varbench.report.cells import cells_of
from varbench.report.columns import column
from varbench.report.text import MISSING


def request_of(result: Result, folder: Path, device: str = "cpu") -> Request:
    """The request of the run that measured a result, with all its edit seeds.

    Args:
        result: published.
        folder: its concept is written there, if that is a user's own.

    Raises:
        ResultsError: its commands are not those of a run with the same settings for all seeds.
    """
    options: dict[str, str] = {}
    overrides: set[tuple[str, ...]] = set()
    for published in result.provenance.runs:
        words = shlex.split(published.command)
        if words[:2] != ["varbench", "run"]:
            raise ResultsError(f"{result.path}: {published.command!r} is not a run of varbench")
        rest = words[2:]
        while len(rest) > 1 and rest[0].startswith("--"):
            options[rest[0]], rest = rest[1], rest[2:]
        overrides.add(tuple(rest))
    (same, *others) = overrides
    if others or not {"--concept", "--suite"} <= options.keys():
        raise ResultsError(f"{result.path}: its runs had different settings; publish it again")
    concept = options["--concept"]
    if (text := result.provenance.concept_file) is not None:
        try:
            kept = {own_files.FILE: text}
            concept = str(own_files.restore(kept, result.concept, result.path.parent, folder))
        except (OSError, ValueError) as error:
            raise ResultsError(f"{result.path}: {error}") from error
    seeds = tuple(one.seed for one in result.provenance.runs)
    suite = options["--suite"]
    return Request(result.model, (result.method,), (concept,), suite, seeds, same, device)


def reproduce(results: Sequence[Result], ctx: RunContext) -> list[Result]:
    """Run the commands of results and make results of that, as `varbench publish` would.

    Args:
        results: published ones; the base model is measured along with any other.
        ctx: the run context. What its store has is not measured again.

    Returns:
        One result per input, in order, except for settings that its command no longer gives.

    Raises:
        ResultsError: a result's commands cannot be run.
        UserError: a command names something that no longer exists.
    """
    folder = ctx.store.root / "concepts"
    requests = [request_of(result, folder, ctx.device) for result in results]
    for request in requests:
        plan(request)  # refuses what cannot be run before the first hour of work
    again: list[Result] = []
    for number, (result, request) in enumerate(zip(results, requests, strict=True), 1):
        ctx.progress.say(f"{number}/{len(results)} {result.path.with_suffix('').as_posix()}")
        cells = [
            cell
            for cell in cells_of(ctx.store, run(request, ctx))
            if settings_of(cell)[:3] == settings_of(result)[:3]
        ]
        defaults = {settings_of(cell) for cell in cells if result.default}
        again += [measured for measured, _ in results_of(cells, defaults)]
    return again


class Change(NamedTuple):
    """A number that is not what it was.

    Attributes:
        cell: ``<model>/<concept>/<method>``.
        metric: the metric, or another part of the file.
        old, new: as published, and as measured now.
        verdict: "worse", "better", "changed" or the reason why they do not compare.
    """

    cell: str
    metric: str
    old: str
    new: str
    verdict: str


def tolerance(metric: MetricValues) -> float:
    """The distance from the published value up to which another value is no regression.

    A quarter of the half-width of its 95 % interval, and for rates of images one image, since
    rounding on another machine may flip one; 5 % of the value where there is no interval. So it
    is far below what would be called a difference, and far above rounding
    (``docs/reproducibility.md``).
    """
    value = abs(metric.value or 0.0)
    spread = 0.05 * value
    if metric.ci_low is not None and metric.ci_high is not None:
        spread = (metric.ci_high - metric.ci_low) / 8
    one_image = 0.0
    if metric.statistic is not None and metric.n and column(metric.metric).info.rate:
        one_image = 1.0001 / metric.n
    return max(spread, one_image, 1e-3 * value, 1e-4)


def changes(old: Sequence[Result], new: Sequence[Result]) -> list[Change]:
    """The changes of published results that were measured again."""
    again = {settings_of(result): result for result in new}
    changed: list[Change] = []
    for result in old:
        name = result.path.with_suffix("").as_posix()
        if (other := again.get(settings_of(result))) is None:
            changed.append(Change(name, "settings", result.config, MISSING, "defaults changed"))
        else:
            changed += _changes(name, result, other)
    return changed


def _changes(name: str, old: Result, new: Result) -> Iterator[Change]:
    before, after = old.provenance, new.provenance
    for what, a, b in (
        ("model", before.model_fingerprint[:12], after.model_fingerprint[:12]),
        ("prompts", before.prompts_sha256[:12], after.prompts_sha256[:12]),
        ("concept", before.concept_sha256[:12], after.concept_sha256[:12]),
        ("method version", str(before.method_version), str(after.method_version)),
    ):
        if a != b:
            yield Change(name, what, a, b, "another one: publish again if meant")
    again = {(m.metric, m.prompt_set): m for m in new.metrics}
    for metric in old.metrics:
        other = again.get((metric.metric, metric.prompt_set))
        if other is None:
            yield Change(name, metric.metric, _text(metric.value), MISSING, "gone")
        elif metric.version != other.version:
            versions = str(metric.version), str(other.version)
            yield Change(name, f"{metric.metric}, version", *versions, "another definition")
        elif (verdict := _verdict(metric, other)) is not None:
            yield Change(name, metric.metric, _text(metric.value), _text(other.value), verdict)


def _verdict(old: MetricValues, new: MetricValues) -> str | None:
    if old.value is None or new.value is None:
        return None if old.value == new.value else "changed"
    by = new.value - old.value
    if abs(by) <= tolerance(old):
        return None
    better = column(old.metric).info.better
    if better not in ("up", "down"):
        return "changed"
    return "better" if (by > 0) == (better == "up") else "worse"


def _text(value: float | None) -> str:
    return MISSING if value is None else f"{value:.4g}"


def changes_text(changed: Sequence[Change], measured: int) -> str:
    """A table of the changes, or one line if there is none."""
    summary = f"{measured} cells measured again"
    if not changed:
        return f"{summary}: all within tolerance"
    heads = ["cell", "metric", "old", "new", ""]
    grid = tabulate(changed, heads, "simple", disable_numparse=True)
    return f"{grid}\n\n{summary}: {len(changed)} number{'s' * (len(changed) > 1)} changed"
