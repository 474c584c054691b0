"""Parts of the intervals and tests: checks, sums per cluster, Wilson's ends, the bootstrap."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from statistics import NormalDist

import numpy as np
from numpy.typing import ArrayLike, NDArray

Floats = NDArray[np.float64]
LEVEL = 0.95  # of every interval
RESAMPLES = 2000
CHUNK = 2_000_000  # numbers drawn at a time: keeps a bootstrap over 30,000 prompts below 100 MB


@dataclass(frozen=True)
class Interval:
    """A value with its confidence interval, of `n` images in `clusters` independent groups."""

    value: float
    low: float
    high: float
    n: int
    clusters: int


def bootstrap(columns_CK: Floats, statistic: Callable[[Floats], Floats], n: int) -> Interval:
    """Percentile interval of `statistic`, which maps column means [R, K] to [R]."""
    count = len(columns_CK)
    value = float(statistic(columns_CK.mean(axis=0, keepdims=True))[0])
    rng, step, means = np.random.default_rng(0), max(1, CHUNK // count), []
    for start in range(0, RESAMPLES, step):
        size = min(step, RESAMPLES - start)
        drawn = rng.integers(0, count, (size, count)) + count * np.arange(size)[:, None]
        # How often each cluster was drawn: a matrix product then does all resamples at once.
        weights_RC = np.bincount(drawn.ravel(), minlength=size * count).reshape(size, count)
        means.append(weights_RC @ columns_CK / count)
    draws = statistic(np.concatenate(means))
    draws = draws[np.isfinite(draws)]  # a ratio is undefined where the denominator drew only zeros
    low, high = np.quantile(draws, [(1 - LEVEL) / 2, (1 + LEVEL) / 2])
    # Rounding (all values equal) can leave the value just outside.
    return Interval(value, min(float(low), value), max(float(high), value), n, count)


def first_column(means_RK: Floats) -> Floats:
    """A statistic for `bootstrap`: the mean itself."""
    return means_RK[:, 0]


def column_ratio(means_RK: Floats) -> Floats:
    """A statistic for `bootstrap`: the first mean by the second; NaN where that is not above 0."""
    denominator = means_RK[:, 1]
    ratio = np.full(len(means_RK), np.nan)
    np.divide(means_RK[:, 0], denominator, out=ratio, where=denominator > 0)
    return ratio


def wilson_ends(p: float, n: float) -> tuple[float, float]:
    """Ends of Wilson's interval of a rate `p` among `n` observations, which need not be whole.

    (p + z²/2n ± z sqrt(p(1-p)/n + z²/4n²)) / (1 + z²/n), with z the normal quantile of
    (1 + `LEVEL`)/2 (Wilson 1927): of a rate of 0 the low end is exactly 0 and the high end
    z²/(n + z²), of a rate of 1 the mirror image, so a zero is never certain.
    """
    z2 = NormalDist().inv_cdf((1 + LEVEL) / 2) ** 2
    centre = (p + z2 / (2 * n)) / (1 + z2 / n)
    half = float(np.sqrt(z2 * (p * (1 - p) / n + z2 / (4 * n * n)))) / (1 + z2 / n)
    low = 0.0 if p == 0 else min(max(centre - half, 0.0), p)  # exact where rounding would not be
    high = 1.0 if p == 1 else max(min(centre + half, 1.0), p)
    return low, high


def cluster_sums(rows_Sn: Floats, clusters: ArrayLike) -> tuple[Floats, Floats]:
    """Sums [C, S] per cluster of `rows_Sn` [S, n], and the number of rows per cluster [C, 1]."""
    ids, inverse = np.unique(np.asarray(clusters), return_inverse=True)
    if inverse.shape != rows_Sn.shape[1:]:
        raise ValueError(f"{inverse.size} cluster ids for {rows_Sn.shape[1]} values; need one each")
    if ids.size < 2:
        raise ValueError("one prompt gives no interval over prompts: use at least two")
    sums = [np.bincount(inverse, weights=row, minlength=ids.size) for row in rows_Sn]
    return np.stack(sums, axis=1), np.bincount(inverse).astype(np.float64)[:, None]


def finite_values(values: ArrayLike) -> Floats:
    """`values` as a list [n] of finite numbers; ValueError if they are none."""
    rows = np.asarray(values, dtype=np.float64)
    if rows.ndim != 1:
        raise ValueError(f"values must be a list of numbers, got shape {rows.shape}")
    if rows.size == 0:
        raise ValueError("values must be not empty: there is nothing to take a mean of")
    if not np.isfinite(rows).all():
        raise ValueError("values hold NaN or infinity: leave failed pictures out, count them apart")
    return rows


def finite_pairs(a: ArrayLike, b: ArrayLike) -> tuple[Floats, Floats]:
    """Both as in `finite_values`; ValueError if their lengths differ."""
    rows_a, rows_b = finite_values(a), finite_values(b)
    if rows_a.shape != rows_b.shape:
        raise ValueError(f"{rows_a.size} values against {rows_b.size}; need pairs")
    return rows_a, rows_b
