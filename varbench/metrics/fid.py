"""FID: Frechet distance between Gaussians fitted to image features.

    FID = |m1 - m2|^2 + Tr(S1 + S2 - 2 (S1 S2)^(1/2))

(Heusel et al., NeurIPS 2017; clean-fid: Parmar et al., CVPR 2022) of rows of role `features`, to
the base model's images of the same prompts and seeds (how far did the edit move what it must not
touch?) or to real ones (did quality change?). The Gallery's real images are renders of the same
prompts; COCO's are the 30,000 that the captions of `coco-30k` describe, of which only mean and
covariance are kept (`coco-30k-statistics`).

The distance is clean-fid's own where there are more images than dimensions. Otherwise the
covariance of the n images, S1 = A'A with rows A [n, d], is singular, and a matrix root is slow
and imprecise; then Tr (S1 S2)^(1/2) is taken as the sum of the roots of the eigenvalues of
A S2 A' [n, n], which are those of S1 S2 but for zeros.

Why there is no interval. FID is biased upwards by about c/n (Chong and Forsyth, CVPR 2020).
A bootstrap repeats images, which adds the bias a second time, and the result can miss the
value altogether; a jackknife fails for `fid_base`, whose variance is of second order near 0, just
where methods differ. `kid_base` asks the same question without bias and has an interval.

`details`: `n`, `n_reference` (null where it is not known), `dimensions`.
"""

from __future__ import annotations

import contextlib
import io
import warnings
from dataclasses import dataclass, replace

import numpy as np

from varbench.data.groups import COCO, KEPT
from varbench.metrics.base import MetricInfo, MetricInputs, MetricValue, Moments
from varbench.metrics.estimates import PairedMetric, dropped_note, joined, missing, no_images
from varbench.metrics.groups import Array, Pair


@dataclass(frozen=True)
class Fid(PairedMetric):
    """Frechet distance to the base model's images or to real ones.

    Attributes:
        info: the facts.
        real: compare with real images.
        fix: how to get real images to compare with.
    """

    info: MetricInfo
    real: bool = False
    fix: str = ""

    def of_pair(self, pair: Pair, inputs: MetricInputs) -> MetricValue:
        """No value of one image, or where real images are missing."""
        groups = self.info.groups
        if len(pair) < 2:
            return no_images(groups)
        ours = pair.method.array("features", "features")
        base = pair.base.array("features", "features")
        target = inputs.real(*groups) if self.real else base
        if target is None:
            why = "no real pictures to compare with"
            return missing(f"{why}: {self.fix}" if self.fix else why, len(pair))
        n, dims = ours.shape
        n_reference = target.n if isinstance(target, Moments) else len(target)
        details = {"n": n, "n_reference": n_reference, "dimensions": dims}
        few = f"only {n} pictures for {dims} dimensions: mostly bias" if n <= dims else ""
        note = joined("no interval: FID is biased in n, see kid_base", few, dropped_note(pair))
        value = frechet_distance(ours, target)
        baseline = frechet_distance(base, target) if self.real else 0.0
        return MetricValue(value, None, None, n, baseline, None, note, details)


def frechet_distance(rows: Array, target: Array | Moments) -> float:
    """FID of feature rows [n, d] to other rows [m, d] or to their moments; n, m >= 2.

    Moments are taken in float64 (clean-fid's folder functions keep the network's float32).
    Rounding can make it about -1e-6 for equal input; that is shown as 0.

    Raises:
        ValueError: fewer than two images, or features of other networks.
    """
    a = np.asarray(rows, dtype=np.float64)
    if isinstance(target, Moments):
        m2, s2 = target.mean, target.covariance
    else:
        b = np.asarray(target, dtype=np.float64)
        if a.shape == b.shape and np.array_equal(a, b):
            return 0.0  # rounding would leave up to 1e-4
        m2, s2 = _moments(b)
    m1, s1 = _moments(a)
    if m1.shape != m2.shape:
        raise ValueError(f"features of {m1.size} dimensions against {m2.size}")
    if len(a) > a.shape[1]:
        with contextlib.suppress(ValueError):  # of its root of a matrix of low rank
            return max(_clean_fid(m1, s1, m2, s2), 0.0)
        variances, axes = np.linalg.eigh(s1)
        centred = np.sqrt(variances.clip(0))[:, None] * axes.T
    else:
        centred = (a - m1) / np.sqrt(len(a) - 1)
    values = np.linalg.eigvalsh(centred @ s2 @ centred.T)
    root = np.sqrt(values[values > 1e-14 * values.max()]).sum()  # what is below is rounding
    return max(float(((m1 - m2) ** 2).sum() + np.trace(s1) + np.trace(s2) - 2 * root), 0.0)


def _moments(rows: Array) -> tuple[Array, Array]:
    if len(rows) < 2:
        raise ValueError("FID needs at least two pictures on each side")
    return rows.mean(axis=0), np.cov(rows, rowvar=False)


def _clean_fid(m1: Array, s1: Array, m2: Array, s2: Array) -> float:
    from cleanfid import fid  # imports torch, which listing metrics must not need

    # It prints a warning where the product is singular, and uses a deprecated argument.
    with warnings.catch_warnings(), contextlib.redirect_stdout(io.StringIO()):
        warnings.simplefilter("ignore")
        return float(fid.frechet_distance(m1, s1, m2, s2))


FID_BASE = Fid(MetricInfo(
    id="fid_base", title="FID (base)", better="down", unit="", range=(0.0, None), digits=1,
    version=2, groups=KEPT, needs=("features",),
    citation="Heusel et al. 2017, NeurIPS; Parmar et al. 2022, clean-fid, CVPR",
    definition="Fréchet distance of features to the base model's images of the same prompts. "
    "Compare only at equal n: it falls as n grows.",
))  # fmt: skip
FID_REAL = Fid(replace(
    FID_BASE.info, id="fid_real", title="FID (real)",
    definition="Fréchet distance of features to real images. Compare only at equal n.",
), real=True)  # fmt: skip
FID_COCO_BASE = Fid(replace(
    FID_BASE.info, id="fid_coco_base", title="FID (COCO, base)", groups=(COCO,),
    definition="Fréchet distance of features to the base model's images of the same COCO captions. "
    "Compare only at equal n.",
))  # fmt: skip
FID_COCO_REAL = Fid(replace(
    FID_REAL.info, id="fid_coco_real", title="FID (COCO)", groups=(COCO,),
    definition="Fréchet distance of features of images of COCO captions to COCO's own images: the "
    'column "FID" of most papers on erasure. Compare only at equal n.',
), True, fix="`varbench fetch coco-30k-statistics` says how to make their statistics")  # fmt: skip
