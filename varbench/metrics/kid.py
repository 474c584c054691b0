"""KID: kernel distance between the edit's images and the unerased model's, without bias.

    k(x, y) = (x.y / d + 1)^3,   KID = MMD^2 with k, as `mmd.py` estimates it

(Binkowski et al., ICLR 2018; kernel and scale as in clean-fid), on the `neighbours` and `unrelated`
images pooled (`kid_base`) or on those of group `coco` (`kid_coco_base`). x are feature rows of
the `features` scorer.

`details["clean_fid"]` is clean-fid's own `kernel_distance` on the same rows, for comparison. It is
unbiased only for independent samples: `mmd.py` says why not for ours, and what the interval is.

Pitfalls. Values depend on the features' scale: compare only within one scorer.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass

import numpy as np

from varbench.metrics.base import COCO, KEPT, Array
from varbench.metrics.info import MetricInfo
from varbench.metrics.mmd import MmdMetric, paired_mmd
from varbench.metrics.stats.intervals import Interval


@dataclass(frozen=True)
class KidBase(MmdMetric):
    """Cubic-kernel MMD^2 to the unerased model's images."""

    @property
    def rows(self) -> tuple[str, str]:
        return "features", "features"

    def distance(self, ours: Array, base: Array, clusters: Array) -> Interval:
        """See :func:`paired_kid`."""
        return paired_kid(ours, base, clusters)

    def details(self, ours: Array, base: Array) -> Mapping[str, float]:
        """The number as clean-fid computes it."""
        return {"clean_fid": clean_fid_kid(ours, base)}


def paired_kid(x: Array, y: Array, clusters: Array) -> Interval:
    """KID of coupled rows `x`, `y` [n, d] with prompts `clusters` [n], at least three prompts."""
    return paired_mmd(x, y, clusters, _kernel)


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


KID_BASE = KidBase(
    MetricInfo(
        id="kid_base", title="KID (base)", better="down", unit="", digits=4, groups=KEPT,
        needs=("features",), citation="Binkowski et al. 2018, ICLR; Gretton et al. 2012, JMLR",
        question="how far did the edit move what must stay? (unbiased)",
        definition="Kernel distance of features to the unerased model's images; unbiased in n.",
    ),
)  # fmt: skip
KID_COCO_BASE = KidBase(
    MetricInfo(
        id="kid_coco_base", title="KID (COCO, base)", better="down", unit="", digits=4,
        groups=COCO, needs=("features",),
        citation="Binkowski et al. 2018, ICLR; Gretton et al. 2012, JMLR",
        question="how far did the edit move images of COCO captions? (unbiased)",
        definition="The same for images of COCO captions.",
    ),
)  # fmt: skip
