"""Rates in which not every image counts, and the harmonic mean of several rates.

The accuracy among images *with a face* leaves out other images of the edited model than of the
base model, so the two cannot be subtracted image by image: their intervals are added as squares,
as if they were independent, which is wider than pairing would allow.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np

from varbench.metrics import stats
from varbench.metrics.base import MetricValue
from varbench.metrics.estimates import ONE_PROMPT, joined, paired_mean, prompt_mean
from varbench.metrics.groups import Array, Flags
from varbench.metrics.stats import Interval


@dataclass(frozen=True)
class RateSamples:
    """One model's images: those that hit, and those that count at all; both bool [n]."""

    hits: Flags
    counted: Flags

    def mean(self, clusters: Array) -> float | None:
        """Mean over prompts of the rate among the prompt's counted images; None without any."""
        counted = self.counted
        return prompt_mean(self.hits[counted], clusters[counted]) if counted.any() else None

    def interval(self, clusters: Array) -> Interval | None:
        """Wilson's, with the effective sample size of the counted images; None for one prompt."""
        counted = self.counted
        if np.unique(clusters[counted]).size < 2:
            return None
        return stats.clustered_rate(self.hits[counted], clusters[counted])


@dataclass(frozen=True)
class SubsetRate:
    """A rate of both models on the same prompts and image seeds; `clusters` [n] prompt ids."""

    method: RateSamples
    base: RateSamples
    clusters: Array

    def difference(self) -> Interval | None:
        """Rate of the method minus that of the base model; None where one has no interval."""
        if self.method.counted.all() and self.base.counted.all():
            if np.unique(self.clusters).size < 2:
                return None
            return stats.rate_difference(self.method.hits, self.base.hits, self.clusters)
        ours, base = self.method.interval(self.clusters), self.base.interval(self.clusters)
        return None if ours is None or base is None else interval_difference(ours, base)


def interval_difference(a: Interval, b: Interval) -> Interval:
    """A - b as if they were independent, their intervals added as squares (Zou and Donner 2008)."""
    value = a.value - b.value
    low = value - float(np.hypot(a.value - a.low, b.high - b.value))
    high = value + float(np.hypot(a.high - a.value, b.value - b.low))
    return Interval(value, low, high, a.n, a.clusters)


def rate_value(
    rate: SubsetRate, details: Mapping[str, Any], note: str, nothing: str
) -> MetricValue:
    """A subset rate as a metric's value; `nothing` is the note where no image of ours counts."""
    method, base, clusters = rate.method, rate.base, rate.clusters
    if method.counted.all() and base.counted.all():
        return paired_mean(method.hits, base.hits, clusters, details=details, note=note)
    n, value, baseline = int(method.counted.sum()), method.mean(clusters), base.mean(clusters)
    if value is None:
        return MetricValue(None, None, None, n, baseline, note=nothing, details=details)
    interval = method.interval(clusters)
    if interval is None:
        note = joined(note, ONE_PROMPT)
        return MetricValue(value, None, None, n, baseline, None, note, details)
    return MetricValue(
        value, interval.low, interval.high, n, baseline, rate.difference(), note, details
    )


def harmonic_mean(rates: Sequence[Any]) -> Any:
    """K by the sum of 1/rate of K numbers or arrays; 0 where a rate is 0, which is the limit."""
    stacked = np.stack([np.asarray(rate, dtype=np.float64) for rate in rates])
    with np.errstate(divide="ignore"):
        return len(stacked) / (1 / stacked).sum(axis=0)


def harmonic_interval(rates: Sequence[Interval]) -> Interval:
    """Interval of the harmonic mean of independent rates, from theirs.

    Each rate moves the mean by what its own interval allows, and the moves are added as squares
    (Zou and Donner 2008, Stat. Med. 27:1693), which keeps what Wilson does where a rate is 1. Where
    one is 0 no other moves the mean, so there the high end is that of all high ends together.

    Of 95 % intervals for two rates from 0.05 to 0.99, n images each, 95 % hold the truth on
    average (exact, for n of 20, 40 and 100); at worst 90, 88 and 93 %, where both are near 1.
    """
    values = [rate.value for rate in rates]
    low = _moved(values, [rate.low for rate in rates])
    high = _moved(values, [rate.high for rate in rates])
    n, clusters = sum(rate.n for rate in rates), sum(rate.clusters for rate in rates)
    return Interval(float(harmonic_mean(values)), max(low, 0.0), min(high, 1.0), n, clusters)


def _moved(values: Sequence[float], ends: Sequence[float]) -> float:
    """The harmonic mean of `values`, moved by what each moves it to its own end."""
    centre = float(harmonic_mean(values))
    if centre == 0:
        return float(harmonic_mean(ends))
    singly = [[*values[:i], end, *values[i + 1 :]] for i, end in enumerate(ends)]
    length = float(np.hypot.reduce([float(harmonic_mean(each)) - centre for each in singly]))
    return centre + float(np.copysign(length, sum(ends) - sum(values)))


def harmonic_value(
    rates: Sequence[SubsetRate], details: Mapping[str, Any], note: str, nothing: str
) -> MetricValue:
    """The harmonic mean of rates of different prompts, each better the higher.

    `nothing` is the note where no image of the edited model counts in some rate.
    """
    n = sum(int(rate.method.counted.sum()) for rate in rates)
    values = [rate.method.mean(rate.clusters) for rate in rates]
    baselines = [rate.base.mean(rate.clusters) for rate in rates]
    measured = [value for value in values if value is not None]
    baseline = None if None in baselines else float(harmonic_mean(baselines))
    if len(measured) < len(rates):
        return MetricValue(None, None, None, n, baseline, note=nothing, details=details)
    value = float(harmonic_mean(measured))
    intervals = [each for rate in rates if (each := rate.method.interval(rate.clusters))]
    if len(intervals) < len(rates):
        note = joined(note, ONE_PROMPT)
        return MetricValue(value, None, None, n, baseline, None, note, details)
    mean, difference = harmonic_interval(intervals), None
    theirs = [each for rate in rates if (each := rate.base.interval(rate.clusters))]
    if len(theirs) == len(rates):
        difference = interval_difference(mean, harmonic_interval(theirs))
    return MetricValue(value, mean.low, mean.high, n, baseline, difference, note, details)
