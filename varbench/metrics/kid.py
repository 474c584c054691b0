"""KID: kernel distance between the edit's pictures and the unerased model's, without bias.

    k(x, y) = (x.y / d + 1)^3,   KID = MMD^2 with k, as `mmd.py` estimates it

(Binkowski et al., ICLR 2018; kernel and scale as in clean-fid), on the `neighbours` and `unrelated`
pictures pooled (`kid_base`) or on those of group `coco` (`kid_coco_base`). x are feature rows of
the `features` scorer.

`details["clean_fid"]` is clean-fid's own `kernel_distance` on the same rows, for comparison. It is
unbiased only for independent samples: `mmd.py` says why not for ours, and what the interval is.

Pitfalls. Values depend on the features' scale: compare only within one scorer.
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np

from varbench.metrics.base import COCO, KEPT, Array, Better, Evidence, MetricValue
from varbench.metrics.estimates import dropped_note, missing, no_pictures
from varbench.metrics.mmd import paired_mmd
from varbench.stats import Interval


@dataclass(frozen=True)
class KidBase:
    """Cubic-kernel MMD^2 to the unerased model's pictures."""

    id: str
    title: str
    groups: tuple[str, ...] = KEPT
    unit: str = ""
    better: Better = "down"
    range: tuple[float | None, float | None] = (None, None)
    needs: tuple[str, ...] = ("features",)
    version: int = 1
    citation: str = "Binkowski et al. 2018, ICLR; Gretton et al. 2012, JMLR"

    def compute(self, e: Evidence) -> MetricValue:
        """No value with fewer than three prompts: a jackknife of pairs needs three."""
        pair = e.pair(*self.groups)
        if not len(pair):
            return no_pictures(self.groups)
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


KID_BASE = KidBase("kid_base", "KID to unerased")
KID_COCO_BASE = KidBase("kid_coco_base", "KID to unerased, COCO", COCO)
