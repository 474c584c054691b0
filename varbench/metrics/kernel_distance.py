"""KID and CMMD: kernel distances between the edit's images and the base model's, without bias.

    KID:  k(x, y) = (x.y / d + 1)^3                      on rows of role `features`
    CMMD: k(x, y) = 1000 exp(-|x - y|^2 / (2 * 10^2))    on CLIP's unit image rows, role `clip`

    h(c, c') = mean over images of prompts c and c' of k(x,x') + k(y,y') - k(x,y') - k(y,x')
    MMD^2 = mean of h over all ordered pairs of different prompts c != c'

the squared maximum mean discrepancy; x are the edit's rows, y the base model's of the same prompts
and seeds. KID is that of Binkowski et al. (ICLR 2018; kernel and scale as in clean-fid), CMMD that
of Jayasumana et al. (CVPR 2024), which fits no Gaussian.

The usual estimator averages k(x, y) over all pairs, which is unbiased only for independent samples.
Ours share prompts and random numbers, so an image resembles its own counterpart, and for an edit
that does nothing the usual number is below zero by 2/n times (mean k(x,x) - mean k(x,x')). Leaving
out pairs of the same prompt (Gretton et al., JMLR 2012, lemma 6, with prompts as observations) is
unbiased for coupled samples too and exactly 0 there. The interval is value +- 1.96 standard errors,
delete-one-prompt jackknife (Arvesen 1969), which is conservative near 0. It may reach below 0, as
may the value: that means "no difference seen".

`details`: `clean_fid` (KID) = clean-fid's own `kernel_distance` on the same rows, unbiased only for
independent samples. `with_same` (CMMD) = the number of its authors' code, which also counts pairs
of an image with itself: for independent samples that adds 1000 (1 - mean k) / n per side, and for
ours, where an image and its counterpart make such a pair too, 2000 (1 - mean k of counterparts) /
n. For an edit that does nothing both are 0.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass, replace

import numpy as np

from varbench.data.groups import COCO, KEPT
from varbench.metrics.base import MetricInfo, MetricInputs, MetricValue
from varbench.metrics.estimates import PairedMetric, dropped_note, missing
from varbench.metrics.groups import Array, Pair, row_blocks
from varbench.metrics.stats import Interval

Kernel = Callable[[Array, Array], Array]
"""Rows [n, d] and [m, d] to [n, m]."""
SCALE = 1000.0


@dataclass(frozen=True)
class KernelDistance(PairedMetric):
    """MMD^2 of the edited model's rows to the base model's.

    Attributes:
        info: the facts; it needs the one scorer whose rows are compared.
        array: name of that scorer's array [n, d].
        kernel: of the distance.
        scale: multiplies it.
        published: name and estimator of the number that other code prints for the same rows.
    """

    info: MetricInfo
    array: str
    kernel: Kernel
    scale: float
    published: tuple[str, Callable[[Array, Array], float]]

    def of_pair(self, pair: Pair, inputs: MetricInputs) -> MetricValue:
        """No value with fewer than three prompts: a jackknife of pairs needs three."""
        clusters = pair.base.clusters
        if np.unique(clusters).size < 3:
            return missing("fewer than three prompts", len(pair))
        (role,), (name, published) = self.info.needs, self.published
        ours, base = (side.array(role, self.array) for side in (pair.method, pair.base))
        mmd = paired_mmd(ours, base, clusters, self.kernel, self.scale)
        note, details = dropped_note(pair), {name: published(ours, base)}
        return MetricValue(mmd.value, mmd.low, mmd.high, mmd.n, 0.0, mmd, note, details)


def paired_mmd(x: Array, y: Array, clusters: Array, kernel: Kernel, scale: float = 1.0) -> Interval:
    """MMD^2 of coupled rows `x`, `y` [n, d] with prompts `clusters` [n], at least three prompts."""
    a, b = (np.asarray(rows, dtype=np.float64) for rows in (x, y))
    ids, inverse, sizes = np.unique(clusters, return_inverse=True, return_counts=True)
    count, weights = ids.size, 1.0 / sizes[inverse]  # every prompt weighs the same
    rows_n = np.empty(len(a))
    for i in row_blocks(len(a)):
        h = kernel(a[i], a) + kernel(b[i], b) - kernel(a[i], b) - kernel(b[i], a)
        rows_n[i] = np.where(inverse[i, None] == inverse, 0.0, h) @ weights
    sums_C = np.bincount(inverse, weights=rows_n * weights)  # sum over c' of h(c, c')
    total = sums_C.sum()
    value = float(total / (count * (count - 1)))
    without_C = (total - 2 * sums_C) / ((count - 1) * (count - 2))
    error = float(np.sqrt((count - 1) / count * ((without_C - without_C.mean()) ** 2).sum()))
    low, high = value - 1.96 * error, value + 1.96 * error
    return Interval(scale * value, scale * low, scale * high, len(a), count)


def cubic_kernel(x: Array, y: Array) -> Array:
    """KID's kernel."""
    kernel: Array = (x @ y.T / x.shape[1] + 1) ** 3
    return kernel


def gaussian_kernel(x: Array, y: Array) -> Array:
    """CMMD's kernel, without the factor `SCALE`."""
    squared = (x**2).sum(axis=1)[:, None] + (y**2).sum(axis=1) - 2 * x @ y.T
    kernel: Array = np.exp(squared / (-2 * 10.0**2))
    return kernel


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


def cmmd_with_same(x: Array, y: Array) -> float:
    """CMMD of rows `x` [n, d] and `y` [m, d] as its authors' code has it, over all pairs."""
    a, b = (np.asarray(rows, dtype=np.float64) for rows in (x, y))
    return SCALE * (_mean(a, a) + _mean(b, b) - 2 * _mean(a, b))


def _mean(a: Array, b: Array) -> float:
    blocks = (gaussian_kernel(a[i], b).sum() for i in row_blocks(len(a)))
    return float(sum(blocks)) / (len(a) * len(b))


KID_BASE = KernelDistance(MetricInfo(
    id="kid_base", title="KID (base)", better="down", unit="", digits=4, groups=KEPT,
    needs=("features",), citation="Binkowski et al. 2018, ICLR; Gretton et al. 2012, JMLR",
    definition="Kernel distance of features to the base model's images; unbiased in n.",
), "features", cubic_kernel, 1.0, ("clean_fid", clean_fid_kid))  # fmt: skip
KID_COCO_BASE = replace(
    KID_BASE,
    info=replace(
        KID_BASE.info, id="kid_coco_base", title="KID (COCO, base)", groups=(COCO,),
        definition="The same for images of COCO captions.",
    ),
)  # fmt: skip
CMMD = KernelDistance(MetricInfo(
    id="cmmd", title="CMMD (base)", better="down", unit="", digits=3, groups=KEPT,
    needs=("clip",), citation="Jayasumana et al. 2024, Rethinking FID, CVPR",
    definition="Kernel distance of CLIP's image rows to the base model's images, times 1000; "
    "unbiased in n.",
), "image", gaussian_kernel, SCALE, ("with_same", cmmd_with_same))  # fmt: skip
CMMD_COCO = replace(
    CMMD,
    info=replace(
        CMMD.info, id="cmmd_coco", title="CMMD (COCO, base)", groups=(COCO,),
        definition="The same for images of COCO captions.",
    ),
)  # fmt: skip
