"""Numbers of a results file that must fit each other."""

from __future__ import annotations

from collections.abc import Iterator

from varbench.leaderboard.results import MetricValues, SeedValue
from varbench.metrics import METRICS


def check_numbers(metric: MetricValues) -> Iterator[str]:
    """Contradictions among a metric's numbers: mean, seeds, intervals, differences, definition."""
    known = METRICS.get(metric.metric)
    if known is not None and metric.version != known.info.version:
        versions = f"version {metric.version}, now {known.info.version}"
        yield f"defined as of {versions}: run and publish again"
    yield from _check_estimate(metric, metric, "mean")
    for seed in metric.seeds:
        yield from _check_estimate(metric, seed, f"seed {seed.seed}")
    values = [seed.value for seed in metric.seeds if seed.value is not None]
    if (metric.seed_min, metric.seed_max) != (min(values, default=None), max(values, default=None)):
        yield "seed_min and seed_max are not the lowest and the highest seed's value"
    sizes = [seed.n or 0 for seed in metric.seeds]
    if (metric.n or 0) != sum(sizes):
        yield f"n is {metric.n}, but its seeds have {sum(sizes)}"
    if metric.value is not None and len(set(sizes)) == 1 and len(values) == len(sizes):
        mean = sum(values) / len(values)
        if not close(metric.value, mean, *values):
            yield f"the value is {metric.value:g}, but the mean of its seeds is {mean:g}"


def _check_estimate(
    metric: MetricValues, part: MetricValues | SeedValue, name: str
) -> Iterator[str]:
    """Problems of the mean of a metric, or of one of its seeds."""
    if not _inside(part.value, part.ci_low, part.ci_high):
        yield f"the {name}'s value is not in its interval"
    if part.value is None:
        return
    if (by := part.difference) is not None:
        if not _inside(by.value, by.low, by.high):
            yield f"the {name}'s difference is not in its interval"
        right = _difference(metric, part.value)
        if right is not None and not close(by.value, right, part.value, metric.baseline):
            yield f"the {name}'s difference is {by.value:g}, but value and baseline give {right:g}"
    if (known := METRICS.get(metric.metric)) is not None:
        low, high = known.info.range
        if (low is not None and part.value < low) or (high is not None and part.value > high):
            yield f"the {name}'s value {part.value:g} is outside {low} to {high}"


def _inside(value: float | None, low: float | None, high: float | None) -> bool:
    if low is None or high is None:
        return (low is None) == (high is None)
    return value is not None and low <= value <= high


def _difference(metric: MetricValues, value: float) -> float | None:
    """The difference that a value must have; None if its statistic does not fix it."""
    if metric.baseline is None:
        return None
    if metric.statistic == "erasure_rate":
        return value
    if metric.statistic == "ratio":
        return value - 1
    return value - metric.baseline if metric.statistic in ("mean", "total") else None


def close(a: float, b: float, *parts: float | None) -> bool:
    """True if two numbers differ by no more than the rounding of them and of their parts."""
    size = sum(abs(number) for number in (a, b, *parts) if number is not None)
    return abs(a - b) <= 5e-6 * size + 1e-12  # numbers have six significant digits
