"""Intervals of means over prompts, of their ratios, and of counts.

Student's t over the prompts' means, with the variance between edits added; a ratio by its
linearised residuals (Woodruff 1971, JASA 66:411). All weigh prompts the same, however many of their
images failed. Where nothing varies, a mean's interval has no width. That of counts is never
narrower than one count in each prompt that may have been missed, by Wilson's share of C prompts,
that of an erased share never than this share.
"""

from __future__ import annotations

from dataclasses import replace

import numpy as np
from numpy.typing import ArrayLike

from varbench.metrics.stats.clusters import (
    Floats,
    Interval,
    Z,
    cluster_means,
    cluster_sums,
    finite_pairs,
    finite_values,
    t_quantile,
)
from varbench.metrics.stats.edits import NO_EDITS, EditVariance
from varbench.metrics.stats.rates import hardly_shown, wilson_ends


def clustered_mean(
    values: ArrayLike, clusters: ArrayLike, between: EditVariance = NO_EDITS
) -> Interval:
    """Mean over prompts of the prompt's mean; `values` [n], of all edits.

    For hits use `clustered_rate`, for their differences `rate_difference`.
    """
    rows = finite_values(values)
    means_C = cluster_means(rows, clusters)
    return _around(float(means_C.mean()), means_C, rows.size, between)


def ratio_of_means(
    a: ArrayLike, b: ArrayLike, clusters: ArrayLike, between: EditVariance = NO_EDITS
) -> Interval:
    """Mean over prompts of `a` [n] by that of `b` [n], paired; for CLIP score or diversity kept.

    Raises ValueError if the mean of `b` is not above zero, where a ratio has no meaning.
    """
    rows_a, rows_b = finite_pairs(a, b)
    a_C, b_C = cluster_means(rows_a, clusters), cluster_means(rows_b, clusters)
    if b_C.mean() <= 0:
        raise ValueError("the mean of b must be above zero for a ratio")
    ratio = float(a_C.mean() / b_C.mean())
    return _around(ratio, (a_C - ratio * b_C) / b_C.mean(), rows_a.size, between)


def clustered_total(
    counts: ArrayLike, clusters: ArrayLike, between: EditVariance = NO_EDITS
) -> Interval:
    """Sum of `counts` [n], whole numbers from 0; of several edits the mean of their sums."""
    total = _total(_counts(counts), clusters, between)
    return replace(total, low=max(total.low, 0.0))


def total_difference(
    a: ArrayLike, b: ArrayLike, clusters: ArrayLike, between: EditVariance = NO_EDITS
) -> Interval:
    """Sum of `a` [n] minus that of `b` [n], paired row by row; otherwise as `clustered_total`."""
    rows_a, rows_b = finite_pairs(_counts(a), _counts(b))
    return _total(rows_a - rows_b, clusters, between)


def erased_count_share(
    method: ArrayLike, base: ArrayLike, clusters: ArrayLike, between: EditVariance = NO_EDITS
) -> Interval | None:
    """1 - sum(method) / sum(base) of counts; otherwise as `erased_share`."""
    ours, theirs = finite_pairs(_counts(method), _counts(base))
    ours_C, base_C = cluster_sums(ours, clusters), cluster_sums(theirs, clusters)
    if hardly_shown(base_C, between.count):
        return None
    kept = float(ours_C.sum() / base_C.sum())
    size = base_C.size / base_C.sum()
    unit = float(np.abs(ours - theirs).mean()) / float(theirs.mean()) ** 2
    least = wilson_ends(0.0, int((base_C > 0).sum()))[1]
    residuals_C = (ours_C - kept * base_C) * size
    share = _around(1 - kept, residuals_C, ours.size, between, unit, least)
    return replace(share, high=min(share.high, 1.0))


def _around(
    value: float,
    values_C: Floats,
    rows: int,
    between: EditVariance,
    unit: float = 1.0,
    least: float = 0.0,
) -> Interval:
    """The value with the width of the interval of the mean of prompts' values.

    Args:
        value: the middle of the interval.
        values_C: per prompt, what the value is the mean of but for a constant.
        rows: their number, of all edits.
        between: variance between edits, in proportion to `unit`.
        unit: what the rows vary.
        least: the least half width.
    """
    sampling = float(values_C.var(ddof=1)) / values_C.size
    inflated = sampling * (t_quantile(values_C.size - 1) / Z) ** 2
    half = Z * float(np.sqrt(unit * between.of_mean(inflated / unit))) if unit else 0.0
    half = max(half, least)
    return Interval(value, value - half, value + half, rows // between.count, values_C.size)


def _total(rows: Floats, clusters: ArrayLike, between: EditVariance) -> Interval:
    means_C, n = cluster_means(rows, clusters), rows.size // between.count
    unit = n * n * float(np.abs(rows).mean())
    least = means_C.size * wilson_ends(0.0, means_C.size)[1]
    value = float(rows.sum()) / between.count
    return _around(value, n * means_C, rows.size, between, unit, least)


def _counts(values: ArrayLike) -> Floats:
    rows = finite_values(values)
    if (rows < 0).any() or (rows % 1).any():
        raise ValueError("counts must be whole numbers, not negative")
    return rows
