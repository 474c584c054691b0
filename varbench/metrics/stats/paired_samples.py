"""Paired samples: the numbers that a value is the mean of, stored to pool edit seeds.

A value with an interval comes from one number per image (or per prompt) of the edited and of the
base model. A cell stores them beside its records; a report pools the rows of several edit
seeds and asks for the value again. Pooling keeps the prompt as the unit that is resampled: a
resample draws prompts, with the images of all seeds. Such an interval speaks of other prompts,
not of other edits (three seeds cannot tell their own variance by resampling), so the lowest and
the highest seed are shown beside it.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any, Literal, cast, get_args

import numpy as np
from numpy.typing import NDArray

from varbench.metrics.stats import intervals
from varbench.metrics.stats.intervals import Interval

Statistic = Literal["mean", "erasure_rate", "ratio", "total"]
_SIDES = ("method", "base", "clusters")


@dataclass(frozen=True)
class PairedSamples:
    """Samples of one metric; row i of `method` and `base` is the same prompt and image seed.

    Attributes:
        statistic: how they become a value: the mean over prompts of the prompt's mean (of `method`;
            the difference is that of `method - base`), `stats.erasure_rate`, the ratio of the two
            means (whose difference is that to 1), or the total of counts.
        method: `[n]` of the edited model; bool where a row is a hit or none (the value is a rate).
        base: `[n]` of the base model.
        clusters: `[n]` prompt ids.
    """

    statistic: Statistic
    method: NDArray[Any]
    base: NDArray[Any]
    clusters: NDArray[Any]


@dataclass(frozen=True)
class Estimate:
    """A value with its interval, and the paired difference to the base model with its own."""

    value: Interval
    difference: Interval


def estimate(seeds: Sequence[PairedSamples]) -> Estimate | None:
    """The value over one or several edit seeds, or None where the rows allow none.

    Rates have Wilson's interval (clustered), other means a bootstrap over prompts, erasure rates
    `stats.erasure_rate`, ratios `stats.ratio_of_means`, counts `stats.cluster_total`, which of
    several seeds is the mean of their totals. None: fewer than two prompts, too few hits of the
    base model, or nothing of it to divide by.

    Raises:
        ValueError: no rows, or seeds of different statistics.
    """
    (statistic,) = {rows.statistic for rows in seeds}
    method, base, clusters = (np.concatenate([getattr(r, s) for r in seeds]) for s in _SIDES)
    if np.unique(clusters).size < 2:
        return None
    if statistic == "erasure_rate":
        needed = intervals.MIN_BASE_HITS * len(seeds)
        rate = intervals.erasure_rate(method, base, clusters, min_base_hits=needed)
        # The base model has erased nothing, exactly: the rate is its own difference.
        return None if rate is None else Estimate(rate, rate)
    if statistic == "ratio":
        if base.mean() <= 0:
            return None
        share = intervals.ratio_of_means(method, base, clusters)
        less_one = replace(share, value=share.value - 1, low=share.low - 1, high=share.high - 1)
        return Estimate(share, less_one)
    if statistic == "total":
        return Estimate(
            intervals.cluster_total(method, clusters, runs=len(seeds)),
            intervals.total_difference(method, base, clusters, runs=len(seeds)),
        )
    difference = intervals.paired_difference(method, base, clusters)
    return Estimate(intervals.clustered_mean(method, clusters), difference)


def write_rows(path: Path, rows: Mapping[str, PairedSamples]) -> None:
    """Write the rows of several metrics, by metric id, as one `.npz`."""
    arrays = {
        f"{metric}.{samples.statistic}.{side}": getattr(samples, side)
        for metric, samples in rows.items()
        for side in _SIDES
    }
    np.savez_compressed(path, allow_pickle=False, **arrays)


def read_rows(path: Path) -> dict[str, PairedSamples]:
    """The rows of several metrics, as `write_rows` wrote them.

    Raises:
        ValueError: a statistic that this version does not know.
    """
    rows: dict[str, PairedSamples] = {}
    with np.load(path, allow_pickle=False) as arrays:
        for name in arrays.files:
            metric, statistic, side = name.rsplit(".", 2)
            if statistic not in get_args(Statistic):
                raise ValueError(f"{path}: unknown statistic {statistic!r}; upgrade varbench")
            if side == _SIDES[0]:
                stem = f"{metric}.{statistic}"
                sides = (arrays[f"{stem}.{s}"] for s in _SIDES)
                rows[metric] = PairedSamples(cast(Statistic, statistic), *sides)
    return rows
