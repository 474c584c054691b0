"""Tests for differences between methods."""

from __future__ import annotations

from collections.abc import Sequence
from statistics import NormalDist

import numpy as np
from numpy.typing import ArrayLike

from varbench.metrics.stats.clusters import Floats, Z, finite_values, t_quantile
from varbench.metrics.stats.edits import EditVariance

PATTERNS = 10_000  # of signs, at most
_CHUNK = 2_000_000  # numbers drawn at a time: 30,000 prompts take less than 100 MB


def paired_sign_flip_pvalue(diff_by_cluster: ArrayLike) -> float:
    """Two-sided p-value for "the mean difference is zero" (Fisher's randomisation test).

    `diff_by_cluster` [C] is a mean difference per prompt, `cluster_means(a - b, clusters)`. Under
    the null its sign is a coin flip: p is the share of sign patterns with a mean at least as far
    from zero. All 2^C patterns if those are at most `PATTERNS`, otherwise random ones, with
    (1 + count) / (1 + `PATTERNS`), so that p is never 0. All differences zero give p = 1.
    """
    diff = finite_values(diff_by_cluster)
    diff = diff[diff != 0]  # their signs change no mean
    observed = abs(diff.sum()) * (1 - 1e-12)  # the pattern observed must count in spite of rounding
    if 2**diff.size <= PATTERNS:
        patterns = np.arange(2**diff.size)[:, None] >> np.arange(diff.size) & 1
        return float((np.abs((2 * patterns - 1) @ diff) >= observed).mean())
    eights = np.pad(diff, (0, -diff.size % 8)).reshape(-1, 8)
    bits = np.unpackbits(np.arange(256, dtype=np.uint8)[:, None], axis=1)
    sums = list(eights @ bits.T)  # of each eight, by the byte of their signs
    rng, count, step = np.random.default_rng(0), 0, max(1, _CHUNK // diff.size)
    for start in range(0, PATTERNS, step):
        signs = rng.integers(0, 256, (min(step, PATTERNS - start), len(sums)), np.uint8)
        flipped = sum(of_eight.take(byte) for of_eight, byte in zip(sums, signs.T, strict=True))
        count += int((np.abs(diff.sum() - 2 * flipped) >= observed).sum())
    return (1 + count) / (1 + PATTERNS)


def equality_pvalue(
    difference_C: Floats, edits: EditVariance, units: Sequence[tuple[float, int]]
) -> float:
    """Two-sided p-value for "two methods are equal", over prompts and over edits.

    The larger of the sign-flip test's, which speaks of these edits, and that of the mean by the
    variance of prompts and edits together.

    Args:
        difference_C: between the methods, per prompt, each the mean of its edits.
        edits: variance between edits.
        units: of each method, what its rows vary (`edits` is in proportion) and how many edits.
    """
    of_prompts = paired_sign_flip_pvalue(difference_C)
    sampling = float(difference_C.var(ddof=1)) / difference_C.size
    inflated = sampling * (t_quantile(difference_C.size - 1) / Z) ** 2
    spread = sum(unit / count for unit, count in units)
    variance = spread * edits.of_mean(inflated / spread) if spread else inflated
    if variance <= 0:
        return of_prompts
    z = abs(float(difference_C.mean())) / variance**0.5
    return max(of_prompts, 2 * (1 - NormalDist().cdf(z)))


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
