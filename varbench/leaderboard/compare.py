"""Two measurements of the same cell: which numbers moved by more than rounding may move them."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass

from tabulate import tabulate

from varbench.leaderboard.results import MetricValues, Result
from varbench.metrics import METRICS
from varbench.report.text import MISSING

Cell = tuple[str, str, str, str]
"""Model, concept, method and hash of the settings."""


@dataclass(frozen=True)
class Change:
    """A number that is not what it was.

    Attributes:
        cell: ``<model>/<concept>/<method>``.
        metric: whose number, or what else of the file.
        old, new: as published, and as measured now.
        verdict: "worse", "better", "changed" or the reason why they do not compare.
    """

    cell: str
    metric: str
    old: str
    new: str
    verdict: str


def cell_of(result: Result) -> Cell:
    """What two measurements must share to be compared."""
    return result.model, result.concept, result.method, result.config


def tolerance(metric: MetricValues) -> float:
    """How far a value may lie from the published one without being a regression.

    A quarter of the half-width of its 95 % interval, and for shares of images one image, since
    rounding on another machine may flip one; 5 % of the value where there is no interval. So it
    is far below what would be called a difference, and far above rounding
    (``docs/reproducibility.md``).
    """
    value = abs(metric.value or 0.0)
    spread = 0.05 * value
    if metric.ci_low is not None and metric.ci_high is not None:
        spread = (metric.ci_high - metric.ci_low) / 8
    one = 0.0
    if metric.statistic is not None and metric.n and _is_share(metric):
        one = 1.0001 / metric.n
    return max(spread, one, 1e-3 * value, 1e-4)


def _is_share(metric: MetricValues) -> bool:
    known = METRICS.get(metric.metric)
    return known is not None and known.info.rate


def changes(old: Sequence[Result], new: Sequence[Result]) -> list[Change]:
    """What became of published results that were measured again."""
    again = {cell_of(result): result for result in new}
    found: list[Change] = []
    for result in old:
        name = result.place.with_suffix("").as_posix()
        if (other := again.get(cell_of(result))) is None:
            found.append(Change(name, "settings", result.config, MISSING, "defaults changed"))
        else:
            found += _of_one(name, result, other)
    return found


def _of_one(name: str, old: Result, new: Result) -> Iterator[Change]:
    theirs, ours = old.provenance, new.provenance
    for what, a, b in (
        ("model", theirs.model_fingerprint[:12], ours.model_fingerprint[:12]),
        ("prompts", theirs.prompts_sha256[:12], ours.prompts_sha256[:12]),
        ("concept", theirs.concept_sha256[:12], ours.concept_sha256[:12]),
        ("method version", str(theirs.method_version), str(ours.method_version)),
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
    known = METRICS.get(old.metric)
    better = known.info.better if known is not None else ""
    if better not in ("up", "down"):
        return "changed"
    return "better" if (by > 0) == (better == "up") else "worse"


def _text(value: float | None) -> str:
    return MISSING if value is None else f"{value:.4g}"


def changes_text(found: Sequence[Change], measured: int) -> str:
    """A table of the changes, or one line if there is none."""
    looked = f"{measured} cells measured again"
    if not found:
        return f"{looked}: all within tolerance"
    rows = [(c.cell, c.metric, c.old, c.new, c.verdict) for c in found]
    grid = tabulate(rows, ["cell", "metric", "old", "new", ""], "simple", disable_numparse=True)
    return f"{grid}\n\n{looked}: {len(rows)} number{'s' * (len(rows) > 1)} changed"
