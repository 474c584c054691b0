"""Tests for differences between methods."""

from __future__ import annotations

import numpy as np
from numpy.typing import ArrayLike

from varbench.metrics.stats.intervals import CHUNK, Floats, finite_values

PATTERNS = 10_000  # of signs, at most


def paired_sign_flip_pvalue(diff_by_cluster: ArrayLike) -> float:
    """Two-sided p-value for "the mean difference is zero" (Fisher's randomisation test).

    `diff_by_cluster` [C] is a mean difference per prompt, `cluster_means(a - b, clusters)`. Under
    the null its sign is a coin flip: p is the share of sign patterns with a mean at least as far
    from zero. All 2^C patterns if those are at most `PATTERNS`, otherwise random ones, with
    (1 + count) / (1 + `PATTERNS`), so that p is never 0. All differences zero give p = 1.
    """
    diff = finite_values(diff_by_cluster)
    observed = abs(diff.sum()) * (1 - 1e-12)  # the pattern observed must count in spite of rounding
    if 2**diff.size <= PATTERNS:
        patterns = np.arange(2**diff.size)[:, None] >> np.arange(diff.size) & 1
        return float((np.abs((2 * patterns - 1) @ diff) >= observed).mean())
    rng, count, step = np.random.default_rng(0), 0, max(1, CHUNK // diff.size)
    for start in range(0, PATTERNS, step):
        flips = rng.integers(0, 2, (min(step, PATTERNS - start), diff.size), dtype=np.int8)
        count += int((np.abs((2 * flips - 1) @ diff) >= observed).sum())
    return (1 + count) / (1 + PATTERNS)


def holm(pvalues: ArrayLike) -> Floats:
    """Holm's (1979) adjusted p-values [m], in the order given; reject where <= alpha.

    Sorted: max over j <= i of (m - j) p_j (j from 0), at most 1. Controls the chance of any false
    rejection among m comparisons, whatever their dependence. Empty input gives an empty result.
    """
    p = np.asarray(pvalues, dtype=np.float64)
    if p.ndim != 1 or not ((p >= 0) & (p <= 1)).all():
        raise ValueError("p-values must be a list of numbers in [0, 1]")
    order = np.argsort(p, kind="stable")
    adjusted = np.empty_like(p)
    adjusted[order] = np.minimum(np.maximum.accumulate(p[order] * np.arange(p.size, 0, -1)), 1.0)
    return adjusted
