"""KID: kernel distance between the edit's pictures and the unerased model's, without bias.

    k(x, y) = (x.y / d + 1)^3
    h(c, c') = mean over pictures of prompts c and c' of k(x,x') + k(y,y') - k(x,y') - k(y,x')
    KID = mean of h over all ordered pairs of different prompts c != c'

the squared maximum mean discrepancy with the cubic kernel (Binkowski et al., ICLR 2018; kernel and
scale as in clean-fid), on the `neighbours` and `unrelated` pictures pooled. x are the edit's
feature rows, y the unerased model's of the same prompts and seeds.

Why not clean-fid's estimator alone. It averages k(x, y) over all pairs, which is unbiased only for
independent samples. Ours share prompts and random numbers, so a picture resembles its own
counterpart, and for an edit that does nothing clean-fid's number is below zero by 2/n times
(mean k(x,x) - mean k(x,x')). Leaving out pairs of the same prompt (Gretton et al., JMLR 2012,
lemma 6, with prompts as observations) is unbiased for coupled samples too and exactly 0 here.
`details["clean_fid"]` is clean-fid's own `kernel_distance` on the same rows, for comparison.

The interval is value +- 1.96 standard errors, delete-one-prompt jackknife (Arvesen 1969), which is
conservative near 0. It may reach below 0, as may the value: that means "no difference seen".

Pitfalls. Values depend on the features' scale: compare only within one scorer.
"""

from __future__ import annotations

import numpy as np

from varbench.metrics.base import KEPT, Array, Better, Evidence, MetricValue
from varbench.metrics.estimates import dropped_note, missing, no_pictures
from varbench.stats import Interval

_STEP = 512  # rows of the kernel matrix held at a time


class KidBase:
    """Cubic-kernel MMD^2 to the unerased model's pictures."""

    id = "kid_base"
    title = "KID to unerased"
    unit = ""
    better: Better = "down"
    range: tuple[float | None, float | None] = (None, None)
    needs: tuple[str, ...] = ("features",)
    version = 1
    citation = "Binkowski et al. 2018, ICLR; Gretton et al. 2012, JMLR"

    def compute(self, e: Evidence) -> MetricValue:
        """No value with fewer than three prompts: a jackknife of pairs needs three."""
        pair = e.pair(*KEPT)
        if not len(pair):
            return no_pictures(KEPT)
        ours = pair.method.array("features", "features")
        base = pair.base.array("features", "features")
        clusters = pair.base.clusters
        if np.unique(clusters).size < 3:
            return missing("fewer than three prompts", len(pair))
        kid = paired_kid(ours, base, clusters)
        details = {"clean_fid": clean_fid_kid(ours, base)}
        note = dropped_note(pair)
        return MetricValue(kid.value, kid.low, kid.high, kid.n, 0.0, kid, note, details)


def paired_kid(x: Array, y: Array, clusters: Array) -> Interval:
    """KID of coupled rows `x`, `y` [n, d] with prompts `clusters` [n], at least three prompts."""
    a, b = (np.asarray(rows, dtype=np.float64) for rows in (x, y))
    ids, inverse, sizes = np.unique(clusters, return_inverse=True, return_counts=True)
    count, weights = ids.size, 1.0 / sizes[inverse]  # every prompt weighs the same
    rows_n = np.empty(len(a))
    for start in range(0, len(a), _STEP):
        i = slice(start, start + _STEP)
        h = _kernel(a[i], a) + _kernel(b[i], b) - _kernel(a[i], b) - _kernel(b[i], a)
        rows_n[i] = np.where(inverse[i, None] == inverse, 0.0, h) @ weights
    sums_C = np.bincount(inverse, weights=rows_n * weights)  # sum over c' of h(c, c')
    total = sums_C.sum()
    value = float(total / (count * (count - 1)))
    without_C = (total - 2 * sums_C) / ((count - 1) * (count - 2))
    error = float(np.sqrt((count - 1) / count * ((without_C - without_C.mean()) ** 2).sum()))
    return Interval(value, value - 1.96 * error, value + 1.96 * error, len(a), count)


def clean_fid_kid(x: Array, y: Array) -> float:
    """clean-fid's `kernel_distance`: all rows at once up to 1,000, else 100 subsets of 1,000."""
    from cleanfid import fid  # imports torch, which listing metrics must not need

    a, b = (np.asarray(rows, dtype=np.float64) for rows in (x, y))
    state = np.random.get_state()  # it draws from numpy's global generator
    try:
        np.random.seed(0)
        return float(fid.kernel_distance(b, a, num_subsets=1 if len(a) <= 1000 else 100))
    finally:
        np.random.set_state(state)


def _kernel(x: Array, y: Array) -> Array:
    kernel: Array = (x @ y.T / x.shape[1] + 1) ** 3
    return kernel
