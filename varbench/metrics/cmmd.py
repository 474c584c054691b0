"""CMMD: kernel distance of CLIP embeddings to the unerased model's images, without bias.

    k(x, y) = exp(-|x - y|^2 / (2 * 10^2)),   CMMD = 1000 * MMD^2 with k, as `mmd.py` estimates it

(Jayasumana et al., CVPR 2024), x the unit image rows of role `clip`, on the `neighbours` and
`unrelated` images pooled (`cmmd`) or on those of group `coco` (`cmmd_coco`). Unlike FID it fits
no Gaussian, and CLIP knows styles, faces and scenes that Inception was never asked about.

Deviations from the paper. Its network is CLIP ViT-L/14 at 336 pixels; ours is the one of role
`clip` (ViT-L/14 at 224 pixels, or the Gallery's tiny CLIP), whose rows are there anyway. Its
reference is COCO's images; ours is the unerased model, so 0 is "nothing moved" and no image has
to be fetched. Its code also counts pairs of an image with itself, which for independent samples
adds 1000 (1 - mean k) / n per side, and for ours, where an image and its counterpart make such a
pair too, 2000 (1 - mean k of counterparts) / n: `details["with_same"]` is that number on the same
rows. For an edit that does nothing both are 0.

Pitfalls. On unit rows the kernel is nearly linear (|x - y|^2 <= 4 against 200), so CMMD sees mostly
a shift of the mean embedding, 10 |mean x - mean y|^2, and little of a loss of diversity: read
`recall`. Values of different CLIP models do not compare.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, replace

import numpy as np

from varbench.metrics.base import COCO, KEPT, Array
from varbench.metrics.info import MetricInfo
from varbench.metrics.mmd import STEP, MmdMetric, paired_mmd
from varbench.metrics.stats.intervals import Interval

SIGMA = 10.0
SCALE = 1000.0


@dataclass(frozen=True)
class Cmmd(MmdMetric):
    """Gaussian-kernel MMD^2 of CLIP's image rows to the unerased model's."""

    @property
    def rows(self) -> tuple[str, str]:
        return "clip", "image"

    def distance(self, ours: Array, base: Array, clusters: Array) -> Interval:
        """See :func:`paired_cmmd`."""
        return paired_cmmd(ours, base, clusters)

    def details(self, ours: Array, base: Array) -> Mapping[str, float]:
        """The number as its authors compute it."""
        return {"with_same": cmmd_with_same(ours, base)}


def paired_cmmd(x: Array, y: Array, clusters: Array) -> Interval:
    """CMMD of coupled rows `x`, `y` [n, d] with prompts `clusters` [n], at least three prompts."""
    found = paired_mmd(x, y, clusters, _kernel)
    low, high = SCALE * found.low, SCALE * found.high
    return replace(found, value=SCALE * found.value, low=low, high=high)


def cmmd_with_same(x: Array, y: Array) -> float:
    """CMMD of rows `x` [n, d] and `y` [m, d] as its authors' code has it, over all pairs."""
    a, b = (np.asarray(rows, dtype=np.float64) for rows in (x, y))
    return SCALE * (_mean(a, a) + _mean(b, b) - 2 * _mean(a, b))


def _mean(a: Array, b: Array) -> float:
    blocks = (_kernel(a[i : i + STEP], b).sum() for i in range(0, len(a), STEP))
    return float(sum(blocks)) / (len(a) * len(b))


def _kernel(x: Array, y: Array) -> Array:
    squared = (x**2).sum(axis=1)[:, None] + (y**2).sum(axis=1) - 2 * x @ y.T
    kernel: Array = np.exp(squared / (-2 * SIGMA**2))
    return kernel


CMMD = Cmmd(
    MetricInfo(
        id="cmmd", title="CMMD (base)", better="down", unit="", digits=3, groups=KEPT,
        needs=("clip",), citation="Jayasumana et al. 2024, Rethinking FID, CVPR",
        question="how far did the edit move what must stay, as CLIP sees it?",
        definition=(
            "Kernel distance of CLIP's image rows to the unerased model's images, times 1000; "
            "unbiased in n."
        ),
    ),
)  # fmt: skip
CMMD_COCO = Cmmd(
    MetricInfo(
        id="cmmd_coco", title="CMMD (COCO, base)", better="down", unit="", digits=3, groups=COCO,
        needs=("clip",), citation="Jayasumana et al. 2024, Rethinking FID, CVPR",
        question="how far did the edit move images of COCO captions, as CLIP sees it?",
        definition="The same for images of COCO captions.",
    ),
)  # fmt: skip
