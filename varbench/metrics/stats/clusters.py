"""Rows by prompt: what every interval and test starts from.

Images of one prompt resemble each other, so they are no independent observations; treating them
as such can make standard errors several times too small (Miller 2024, arXiv 2411.00640). Hence the
unit is the *cluster*, a prompt with all its images, and comparisons are paired.

`clusters` [n] holds a prompt id per row, of any type that sorts. Empty input, NaN or infinity, and
fewer than two clusters (one prompt says nothing of other prompts) are a ValueError.
"""

from __future__ import annotations

from dataclasses import dataclass
from functools import cache
from statistics import NormalDist
from typing import Any

import numpy as np
from numpy.typing import ArrayLike, NDArray

Floats = NDArray[np.float64]
LEVEL = 0.95  # of every interval, two-sided
Z = NormalDist().inv_cdf((1 + LEVEL) / 2)


@dataclass(frozen=True)
class Interval:
    """A value with its confidence interval, of `n` images in `clusters` independent groups."""

    value: float
    low: float
    high: float
    n: int
    clusters: int


@cache
def t_quantile(df: float) -> float:
    """The quantile of Student's t that stands for `Z` with so many degrees of freedom."""
    from scipy.special import stdtrit  # slow to load, and reading published numbers needs none

    return float(stdtrit(df, (1 + LEVEL) / 2))


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


def cluster_sums(values: ArrayLike, clusters: ArrayLike) -> Floats:
    """Sum of `values` [n] in each cluster -> [C], in sorted order of the cluster ids."""
    return _sums(values, clusters)[0]


def cluster_means(values: ArrayLike, clusters: ArrayLike) -> Floats:
    """Mean of `values` [n] in each cluster -> [C], in sorted order of the cluster ids."""
    sums, counts = _sums(values, clusters)
    return np.asarray(sums / counts)


def _sums(values: ArrayLike, clusters: ArrayLike) -> tuple[Floats, NDArray[Any]]:
    rows = finite_values(values)
    ids, inverse = np.unique(np.asarray(clusters), return_inverse=True)
    if inverse.shape != rows.shape:
        raise ValueError(f"{inverse.size} cluster ids for {rows.size} values; need one each")
    if ids.size < 2:
        raise ValueError("one prompt gives no interval over prompts: use at least two")
    return np.bincount(inverse, weights=rows).astype(np.float64), np.bincount(inverse)
