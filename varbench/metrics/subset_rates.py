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
    """One model's images: bool [n] those that hit, and those that count at all; [n] prompt ids."""

    hits: Flags
    counted: Flags
    clusters: Array

    def mean(self) -> float | None:
        """Mean over prompts of the rate among the prompt's counted images; None without any."""
        counted = self.counted
        return prompt_mean(self.hits[counted], self.clusters[counted]) if counted.any() else None

    def interval(self) -> Interval | None:
        """Wilson's, with the effective sample size of the counted images; None for one prompt."""
        clusters = self.clusters[self.counted]
        if np.unique(clusters).size < 2:
            return None
        return stats.clustered_rate(self.hits[self.counted], clusters)


@dataclass(frozen=True)
class SubsetRate:
    """A rate of both models on the same prompts and image seeds."""

    method: RateSamples
    base: RateSamples


def interval_difference(a: Interval, b: Interval) -> Interval:
    """A - b as if they were independent, their intervals added as squares (Zou and Donner 2008)."""
    value = a.value - b.value
    low = value - float(np.hypot(a.value - a.low, b.high - b.value))
    high = value + float(np.hypot(a.high - a.value, b.value - b.low))
    return Interval(value, low, high, a.n, a.clusters)


def harmonic_mean(rates: Sequence[Any]) -> Any:
    """K by the sum of 1/rate of K numbers or arrays; 0 where a rate is 0, which is the limit."""
    if len(rates) == 1:
        return rates[0]
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
    if len(rates) == 1:
        return rates[0]
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


def subset_value(
    rates: Sequence[SubsetRate], details: Mapping[str, Any], note: str, nothing: str
) -> MetricValue:
    """A rate, or the harmonic mean of rates of different prompts, each better the higher.

    `nothing` is the note where no image of the edited model counts in some rate.
    """
    if len(rates) == 1 and (whole := rates[0]).method.counted.all() and whole.base.counted.all():
        hits = whole.method.hits, whole.base.hits
        return paired_mean(*hits, whole.base.clusters, details=details, note=note)
    n = sum(int(rate.method.counted.sum()) for rate in rates)
    value, interval = _combined([rate.method for rate in rates])
    baseline, base_interval = _combined([rate.base for rate in rates])
    if value is None:
        return MetricValue(None, None, None, n, baseline, note=nothing, details=details)
    if interval is None:
        note = joined(note, ONE_PROMPT)
        return MetricValue(value, None, None, n, baseline, None, note, details)
    difference = None if base_interval is None else interval_difference(interval, base_interval)
    return MetricValue(value, interval.low, interval.high, n, baseline, difference, note, details)


def _combined(parts: Sequence[RateSamples]) -> tuple[float | None, Interval | None]:
    """The harmonic mean of one model's rates and its interval; None where a part has none."""
    means, intervals = [part.mean() for part in parts], [part.interval() for part in parts]
    known = [interval for interval in intervals if interval is not None]
    return (
        None if None in means else float(harmonic_mean(means)),
        harmonic_interval(known) if len(known) == len(parts) else None,
    )
