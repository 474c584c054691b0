"""Paired samples: the numbers that a value is the mean of, stored to pool edit seeds.

A value with an interval comes from one number per image (or per prompt) of the edited and of the
base model. A cell stores them beside its records; a report pools the rows of several edit seeds and
asks for the value again. The interval of one edit speaks of other prompts, not of other edits; that
of several of both, with the variance between edits pooled over the report's methods and concepts.
"""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from dataclasses import dataclass, replace
from typing import Any, Literal

import numpy as np
from numpy.typing import NDArray

from varbench.metrics.stats import means, rates
from varbench.metrics.stats.clusters import Floats, Interval
from varbench.metrics.stats.edits import NO_EDITS, EditSquares, EditVariance, edit_squares, pooled
from varbench.metrics.stats.tests import equality_pvalue

Statistic = Literal["mean", "erasure_rate", "ratio", "total"]
SIDES = ("method", "base", "clusters")  # arrays of the samples
_ENDS = ("value", "low", "high")
Prompts = tuple[NDArray[Any], list[NDArray[np.intp]]]


@dataclass(frozen=True)
class PairedSamples:
    """Samples of one metric; row i of `method` and `base` is the same prompt and image seed.

    Attributes:
        statistic: how they become a value: the mean over prompts of the prompt's mean (of `method`;
            the difference is that of `method - base`), the erased share, the ratio of the two means
            (whose difference is that to 1), or the total of counts.
        method: `[n]` of the edited model; bool where a row is a hit or none (the value is a rate).
        base: `[n]` of the base model.
        clusters: `[n]` prompt ids.
    """

    statistic: Statistic
    method: NDArray[Any]
    base: NDArray[Any]
    clusters: NDArray[Any]

    @property
    def of_hits(self) -> bool:
        """True where all rows are hits or none."""
        return self.method.dtype == np.bool_


@dataclass(frozen=True)
class Estimate:
    """A value with its interval, and the paired difference to the base model with its own."""

    value: Interval
    difference: Interval


@dataclass(frozen=True)
class Between:
    """Variance between edits, of a value and of its difference to the base model."""

    value: EditVariance = NO_EDITS
    change: EditVariance = NO_EDITS


def between_edits(groups: Iterable[Sequence[PairedSamples]]) -> Between:
    """The variance between edits of one metric.

    Args:
        groups: for each method and concept, the samples of its edits.
    """
    value: list[EditSquares | None] = []
    change: list[EditSquares | None] = []
    for edits in groups:
        if len(edits) > 1:
            prompts = _prompts(edits)
            value.append(_squares(edits, prompts, [_value_rows(samples) for samples in edits]))
            change.append(_squares(edits, prompts, [_change_rows(samples) for samples in edits]))
    return Between(pooled(value), pooled(change))


def estimate(edits: Sequence[PairedSamples], between: Between | None = None) -> Estimate | None:
    """The value over one or several edits, or None where the rows allow none.

    None: fewer than two prompts, too few hits of the base model, or nothing of it to divide by.

    Args:
        edits: samples of the same prompts, one per edit.
        between: variance between edits; by default that of these alone.

    Raises:
        ValueError: no rows, or samples of different statistics.
    """
    (statistic,) = {rows.statistic for rows in edits}
    method, base = (np.concatenate([getattr(r, side) for r in edits]) for side in SIDES[:2])
    prompts, places = _prompts(edits)
    clusters = np.concatenate(places)
    if prompts.size < 2:
        return None
    between = between or between_edits([edits])
    of_hits = all(samples.of_hits for samples in edits)
    value, change = (replace(part, count=len(edits)) for part in (between.value, between.change))
    if statistic == "erasure_rate":
        share = rates.erased_share if of_hits else means.erased_count_share
        erased = share(method, base, clusters, change)
        # The base model has erased nothing, exactly: the share is its own difference.
        return None if erased is None else Estimate(erased, erased)
    if statistic == "ratio":
        if base.mean() <= 0:
            return None
        ratio = means.ratio_of_means(method, base, clusters, value)
        return Estimate(ratio, replace(ratio, **{e: getattr(ratio, e) - 1 for e in _ENDS}))
    if statistic == "total":
        return Estimate(
            means.clustered_total(method, clusters, value),
            means.total_difference(method, base, clusters, change),
        )
    if of_hits:
        return Estimate(
            rates.clustered_rate(method, clusters, value),
            rates.rate_difference(method, base, clusters, change),
        )
    return Estimate(
        means.clustered_mean(method, clusters, value),
        means.clustered_mean(np.subtract(method, base), clusters, change),
    )


def equality(
    a: Sequence[PairedSamples], b: Sequence[PairedSamples], between: EditVariance = NO_EDITS
) -> float | None:
    """p-value for "two methods have equal values", or None where no test is possible.

    None: other prompts in `a` than in `b`, or one only, which says nothing of others.

    Args:
        a, b: samples of each method's edits.
        between: variance between edits, of the value.
    """
    ids, places = _prompts([*a, *b])
    if ids.size < 2:
        return None
    means, units = [], []
    for edits, of_edits in ((a, places[: len(a)]), (b, places[len(a) :])):
        rows = np.concatenate([np.asarray(s.method, dtype=np.float64) for s in edits])
        of_rows = np.concatenate(of_edits)
        sizes_C = np.bincount(of_rows, None, ids.size)
        if not sizes_C.all():
            return None
        means.append(np.bincount(of_rows, rows, ids.size) / sizes_C)
        units.append((_unit(edits[0], rows), len(edits)))
    return equality_pvalue(means[0] - means[1], between, units)


def _value_rows(samples: PairedSamples) -> Floats:
    method = np.asarray(samples.method, dtype=np.float64)
    if samples.statistic != "ratio":
        return method
    base = np.asarray(samples.base, dtype=np.float64)
    size = float(base.mean()) or 1.0
    ratio = float(method.mean()) / size
    return (method - ratio * base) / size + ratio


def _change_rows(samples: PairedSamples) -> Floats:
    return np.asarray(np.subtract(samples.method, samples.base, dtype=np.float64))


def _prompts(edits: Sequence[PairedSamples]) -> Prompts:
    """Sorted prompt ids of all edits; and for each edit, the place in them of each row's prompt.

    Numbers sort faster than ids, and edits mostly have the same rows.
    """
    first, *others = (samples.clusters for samples in edits)
    if all(np.array_equal(first, clusters) for clusters in others):
        ids, places = np.unique(first, return_inverse=True)
        return ids, [places] * len(edits)
    ids, places = np.unique(np.concatenate([first, *others]), return_inverse=True)
    return ids, np.split(places, np.cumsum([samples.clusters.size for samples in edits])[:-1])


def _squares(
    edits: Sequence[PairedSamples], prompts: Prompts, rows: Sequence[Floats]
) -> EditSquares | None:
    """Squares of the prompts that all edits have; `prompts` from `_prompts`."""
    ids, of_edits = prompts
    sizes_EC = np.stack([np.bincount(places, None, ids.size) for places in of_edits])
    common = sizes_EC.all(axis=0)
    if common.sum() < 2:
        return None
    pairs = zip(of_edits, rows, strict=True)
    sums_EC = np.stack([np.bincount(places, values, ids.size) for places, values in pairs])
    means_EC = sums_EC[:, common] / sizes_EC[:, common]
    return edit_squares(means_EC, _unit(edits[0], np.concatenate(rows)))


def _unit(samples: PairedSamples, rows: Floats) -> float:
    """The variance of the rows, to which the variance between edits is in proportion."""
    if samples.statistic == "total":
        return float(np.abs(rows).mean())
    return float(rows.var()) if samples.of_hits else 1.0
