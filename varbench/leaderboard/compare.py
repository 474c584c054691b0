"""Comparison of two measurements: the numbers that moved by more than rounding may move them."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass

from tabulate import tabulate

from varbench.leaderboard.results import MetricValues, Result
from varbench.metrics import METRICS
from varbench.report.text import MISSING

ResultKey = tuple[str, str, str, str]
"""Model, concept, method and hash of the settings."""


@dataclass(frozen=True)
class Change:
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


def key_of(result: Result) -> ResultKey:
    """The key that two measurements must share to be compared."""
    return result.model, result.concept, result.method, result.config


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
    known = METRICS.get(metric.metric)
    one_image = 0.0
    if metric.statistic is not None and metric.n and known is not None and known.info.rate:
        one_image = 1.0001 / metric.n
    return max(spread, one_image, 1e-3 * value, 1e-4)


def changes(old: Sequence[Result], new: Sequence[Result]) -> list[Change]:
    """The changes of published results that were measured again."""
    again = {key_of(result): result for result in new}
    changed: list[Change] = []
    for result in old:
        name = result.path.with_suffix("").as_posix()
        if (other := again.get(key_of(result))) is None:
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
    known = METRICS.get(old.metric)
    better = known.info.better if known is not None else ""
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
    rows = [(c.cell, c.metric, c.old, c.new, c.verdict) for c in changed]
    grid = tabulate(rows, ["cell", "metric", "old", "new", ""], "simple", disable_numparse=True)
    return f"{grid}\n\n{summary}: {len(rows)} number{'s' * (len(rows) > 1)} changed"
