"""Intervals for everything varbench reports.

Images of one prompt resemble each other, so they are no independent observations; treating them
as such can make standard errors several times too small (Miller 2024, arXiv 2411.00640). Hence the
unit that is resampled here is the *cluster*, a prompt with all its images, and comparisons are
paired: a resample draws the same prompts for both sides.

Conventions. `clusters` [n] holds a prompt id per row, of any type that sorts. All intervals are of
95 %, two-sided, hold their value and do not depend on the order of rows. Bootstraps are of the
percentile kind (Efron 1979) and the same on every run. Empty input, NaN or infinity, and fewer than
two clusters (one prompt says nothing of other prompts) are a ValueError. With few clusters a
percentile bootstrap is too narrow: of normal prompt means it covers 83 % of the time with 5
clusters, 89 % with 10 and 92 % with 20 (1,500 trials each).
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass, replace
from statistics import NormalDist
from typing import Any

import numpy as np
from numpy.typing import ArrayLike, NDArray

Floats = NDArray[np.float64]
LEVEL = 0.95  # of every interval
RESAMPLES = 2000
CHUNK = 2_000_000  # numbers drawn at a time: keeps a bootstrap over 30,000 prompts below 100 MB
MIN_BASE_HITS = 30  # of the base model; below it a ratio of hits means nothing


@dataclass(frozen=True)
class Interval:
    """A value with its confidence interval, of `n` images in `clusters` independent groups."""

    value: float
    low: float
    high: float
    n: int
    clusters: int


def clustered_rate(hits: ArrayLike, clusters: ArrayLike) -> Interval:
    """A proportion over prompts with several images each; `hits` [n] in {0, 1}.

    The value is the mean over prompts of the prompt's rate p_c, as in `cluster_bootstrap_mean`, the
    interval Wilson's with the effective sample size p(1-p) / (var(p_c)/C) (Franco, Little, Louis
    and Slud 2019, J. Surv. Stat. Methodol.), which lies between C (images of a prompt all alike)
    and n. Where all or none hit, a bootstrap would claim certainty; here each of the C prompts then
    counts once, and no other interval is tighter at that end. With one image per prompt this is
    Wilson's own interval.
    """
    rows = finite_values(hits)
    if not np.isin(rows, (0.0, 1.0)).all():
        raise ValueError("hits must be 0 or 1; use cluster_bootstrap_mean for other values")
    means = cluster_means(rows, clusters)
    p, count = float(means.mean()), means.size
    spread = float(means.var()) / count
    # Equal prompt rates have no spread: all that can be said is that the images count fully,
    # unless the rates are 0 or 1, where equality is no evidence of independence.
    size = count if p in (0, 1) else min(p * (1 - p) / max(spread, 1e-300), rows.size)
    low, high = wilson_ends(p, size)
    # A few hits in a few prompts say little of the prompts' spread, so `size` comes out too large.
    # They must not bound the rate more tightly than no hit at all would, nor a few misses.
    low = min(low, wilson_ends(1.0, count)[0])
    high = max(high, wilson_ends(0.0, count)[1])
    return Interval(p, low, high, rows.size, count)


def cluster_means(values: ArrayLike, clusters: ArrayLike) -> Floats:
    """Mean of `values` [n] in each cluster -> [C], in sorted order of the cluster ids."""
    sums, counts = _cluster_sums(finite_values(values)[None], clusters)
    return (sums / counts)[:, 0]


def cluster_bootstrap_mean(values: ArrayLike, clusters: ArrayLike) -> Interval:
    """Mean over prompts of the prompt's mean, with a bootstrap over prompts; `values` [n].

    Every prompt weighs the same, however many of its images failed. If all prompt means are equal
    the interval has no width; for 0/1 values use `clustered_rate`, which stays honest there.
    """
    rows = finite_values(values)
    return _bootstrap(cluster_means(rows, clusters)[:, None], _first_column, rows.size)


def clustered_mean(rows: NDArray[Any], clusters: ArrayLike) -> Interval:
    """`clustered_rate` of bool `rows` [n], `cluster_bootstrap_mean` of others."""
    interval = clustered_rate if rows.dtype == np.bool_ else cluster_bootstrap_mean
    return interval(rows, clusters)


def paired_difference(a: ArrayLike, b: ArrayLike, clusters: ArrayLike) -> Interval:
    """Mean of a - b, where row i of `a` [n] and `b` [n] is the same prompt and image seed.

    The same as `cluster_bootstrap_mean(a - b)`: what a prompt adds to both sides cancels, so this
    is narrower than the two intervals side by side suggest.
    """
    rows_a, rows_b = _finite_pairs(a, b)
    return cluster_bootstrap_mean(rows_a - rows_b, clusters)


def ratio_of_means(a: ArrayLike, b: ArrayLike, clusters: ArrayLike) -> Interval:
    """Mean over prompts of `a` [n] by that of `b` [n], paired; for CLIP score or diversity kept.

    Raises ValueError if the mean of `b` is not above zero, where a ratio has no meaning.
    """
    rows_a, rows_b = _finite_pairs(a, b)
    means_C2 = np.stack([cluster_means(rows_a, clusters), cluster_means(rows_b, clusters)], axis=1)
    if means_C2[:, 1].mean() <= 0:
        raise ValueError("the mean of b must be above zero for a ratio")
    return _bootstrap(means_C2, _column_ratio, rows_a.size)


def erasure_rate(
    method: ArrayLike, base: ArrayLike, clusters: ArrayLike, *, min_base_hits: int = MIN_BASE_HITS
) -> Interval | None:
    """1 - sum(method) / sum(base): the share of the concept's images that is gone.

    `method` [n] and `base` [n] are hits on the same prompts and image seeds, 0 or 1, or
    how many were found in an image. A resample draws the same prompts for both. Not clipped: a
    method that makes more hits than the base has a negative rate.

    If the method has no hit at all, resampling would give [1, 1], and with few hits hardly more. So
    the low end is never above the Wilson bound for 0 hits in K observations, K the number of
    prompts where the base hits: hits must not tighten a bound.

    Returns:
        None if the base has under `min_base_hits` hits, or so few prompts with hits that over 1 %
        of the resamples have none: the model hardly draws the concept, there is nothing to erase.
    """
    ours, theirs = _finite_pairs(method, base)
    for hits in (ours, theirs):
        if (hits < 0).any() or (hits % 1).any():
            raise ValueError("hits must be 0 or 1, or whole counts")
    sums_C2, _ = _cluster_sums(np.stack([ours, theirs]), clusters)
    shown = int((sums_C2[:, 1] > 0).sum())
    blank = (1 - shown / len(sums_C2)) ** len(sums_C2)  # P(a resample has no base hit)
    if theirs.sum() < min_base_hits or shown == 0 or blank > 0.01:
        return None
    kept = _bootstrap(sums_C2, _column_ratio, ours.size)
    high = max(kept.high, wilson_ends(0.0, shown)[1])
    return Interval(1 - kept.value, 1 - high, 1 - kept.low, kept.n, kept.clusters)


def cluster_total(counts: ArrayLike, clusters: ArrayLike, *, runs: int = 1) -> Interval:
    """Sum of `counts` [n], whole numbers from 0, with a bootstrap over as many prompts.

    `counts` of several runs on the same prompts give the mean over `runs` of their sums. No counts
    at all would resample to [0, 0], and few to hardly more. So the high end is never below that of
    C prompts none of which counts anything: Wilson's share of them, at one count each.
    """
    rows = finite_values(counts)
    if (rows < 0).any() or (rows % 1).any():
        raise ValueError("counts must be whole numbers, not negative")
    total = _total(rows, clusters, runs)
    least = total.clusters * wilson_ends(0.0, total.clusters)[1]
    return replace(total, high=max(total.high, least))


def total_difference(a: ArrayLike, b: ArrayLike, clusters: ArrayLike, *, runs: int = 1) -> Interval:
    """Sum of `a` [n] minus that of `b` [n], paired row by row; otherwise as `cluster_total`."""
    rows_a, rows_b = _finite_pairs(a, b)
    return _total(rows_a - rows_b, clusters, runs)


def _total(rows: Floats, clusters: ArrayLike, runs: int) -> Interval:
    sums_C1, _ = _cluster_sums(rows[None], clusters)
    share = len(sums_C1) / runs  # a resample's total is the mean of its prompts' sums by this
    return _bootstrap(share * sums_C1, _first_column, rows.size)


def _bootstrap(columns_CK: Floats, statistic: Callable[[Floats], Floats], n: int) -> Interval:
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


def _first_column(means_RK: Floats) -> Floats:
    return means_RK[:, 0]


def _column_ratio(means_RK: Floats) -> Floats:
    """The first mean by the second; NaN where that is not above 0."""
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


def _cluster_sums(rows_Sn: Floats, clusters: ArrayLike) -> tuple[Floats, Floats]:
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


def _finite_pairs(a: ArrayLike, b: ArrayLike) -> tuple[Floats, Floats]:
    rows_a, rows_b = finite_values(a), finite_values(b)
    if rows_a.shape != rows_b.shape:
        raise ValueError(f"{rows_a.size} values against {rows_b.size}; need pairs")
    return rows_a, rows_b
