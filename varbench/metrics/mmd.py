"""The squared maximum mean discrepancy of coupled samples, without bias: what KID and CMMD share.

    h(c, c') = mean over images of prompts c and c' of k(x,x') + k(y,y') - k(x,y') - k(y,x')
    MMD^2 = mean of h over all ordered pairs of different prompts c != c'

x are the edit's rows, y the unerased model's of the same prompts and seeds. The usual estimator
averages k(x, y) over all pairs, which is unbiased only for independent samples. Ours share prompts
and random numbers, so an image resembles its own counterpart, and for an edit that does nothing
the usual number is below zero by 2/n times (mean k(x,x) - mean k(x,x')). Leaving out pairs of the
same prompt (Gretton et al., JMLR 2012, lemma 6, with prompts as observations) is unbiased for
coupled samples too and exactly 0 there.

The interval is value +- 1.96 standard errors, delete-one-prompt jackknife (Arvesen 1969), which is
conservative near 0. It may reach below 0, as may the value: that means "no difference seen".
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass

import numpy as np

from varbench.metrics.base import Array, MetricInputs, MetricValue
from varbench.metrics.estimates import dropped_note, missing, no_images
from varbench.metrics.info import MetricInfo
from varbench.metrics.stats.intervals import Interval

Kernel = Callable[[Array, Array], Array]
"""Rows [n, d] and [m, d] to [n, m]."""
STEP = 512  # rows of the kernel matrix held at a time


@dataclass(frozen=True)
class MmdMetric:
    """Distance of the edited model's rows to the unerased model's; a metric says of which rows."""

    info: MetricInfo

    @property
    def rows(self) -> tuple[str, str]:
        """Role of the scorer and name of the array [n, d]."""
        raise NotImplementedError

    def distance(self, ours: Array, base: Array, clusters: Array) -> Interval:
        """Of coupled rows [n, d] with prompts [n], at least three of them."""
        raise NotImplementedError

    def details(self, ours: Array, base: Array) -> Mapping[str, float]:
        """What is told besides."""
        raise NotImplementedError

    def compute(self, e: MetricInputs) -> MetricValue:
        """No value with fewer than three prompts: a jackknife of pairs needs three."""
        pair = e.pair(*self.info.groups)
        if not len(pair):
            return no_images(self.info.groups)
        clusters = pair.base.clusters
        if np.unique(clusters).size < 3:
            return missing("fewer than three prompts", len(pair))
        ours, base = (side.array(*self.rows) for side in (pair.method, pair.base))
        found = self.distance(ours, base, clusters)
        note, details = dropped_note(pair), self.details(ours, base)
        return MetricValue(found.value, found.low, found.high, found.n, 0.0, found, note, details)


def paired_mmd(x: Array, y: Array, clusters: Array, kernel: Kernel) -> Interval:
    """MMD^2 of coupled rows `x`, `y` [n, d] with prompts `clusters` [n], at least three prompts."""
    a, b = (np.asarray(rows, dtype=np.float64) for rows in (x, y))
    ids, inverse, sizes = np.unique(clusters, return_inverse=True, return_counts=True)
    count, weights = ids.size, 1.0 / sizes[inverse]  # every prompt weighs the same
    rows_n = np.empty(len(a))
    for start in range(0, len(a), STEP):
        i = slice(start, start + STEP)
        h = kernel(a[i], a) + kernel(b[i], b) - kernel(a[i], b) - kernel(b[i], a)
        rows_n[i] = np.where(inverse[i, None] == inverse, 0.0, h) @ weights
    sums_C = np.bincount(inverse, weights=rows_n * weights)  # sum over c' of h(c, c')
    total = sums_C.sum()
    value = float(total / (count * (count - 1)))
    without_C = (total - 2 * sums_C) / ((count - 1) * (count - 2))
    error = float(np.sqrt((count - 1) / count * ((without_C - without_C.mean()) ** 2).sum()))
    return Interval(value, value - 1.96 * error, value + 1.96 * error, len(a), count)
