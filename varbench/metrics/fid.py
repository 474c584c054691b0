"""FID: Frechet distance between Gaussians fitted to picture features, by clean-fid's own code.

    FID = |m1 - m2|^2 + Tr(S1 + S2 - 2 (S1 S2)^(1/2))

(Heusel et al., NeurIPS 2017; clean-fid: Parmar et al., CVPR 2022) on the `neighbours` and
`unrelated` pictures pooled. Two references answer two questions:

* `fid_base`: against the unerased model's pictures of the same prompts and seeds, i.e. how far the
  edit moved what it must not touch. Exactly 0 for an edit that does nothing.
* `fid_real`: against real pictures, i.e. did quality change; `baseline` is the unerased model's.

Features are the `features` scorer's, so values compare only with values of the same scorer: not
with Inception FIDs of papers unless that scorer is Inception.

Why there is no interval. FID is biased upwards by about c/n (Chong and Forsyth, CVPR 2020).
A bootstrap repeats pictures, which adds the bias a second time, and the result can miss the
value altogether; a jackknife fails for `fid_base`, whose variance is of second order near 0, just
where methods differ. `kid_base` asks the same question without bias and has an interval.

Pitfalls. Compare only at equal n (in `details`). With n <= dimensions the covariances are singular:
the value is then mostly bias, and the note says so. With common random numbers the two samples
of `fid_base` are coupled, which is why it is far below the FID of two independent samples.
"""

from __future__ import annotations

import contextlib
import io
import warnings
from dataclasses import dataclass

import numpy as np

from varbench.metrics.base import KEPT, Array, Better, Evidence, MetricValue
from varbench.metrics.estimates import dropped_note, missing, no_pictures

NO_INTERVAL = "no interval: FID is biased in n, see kid_base"


@dataclass(frozen=True)
class Fid:
    """Frechet distance to the unerased model's pictures or, if `real`, to real ones."""

    id: str
    title: str
    real: bool
    unit: str = ""
    better: Better = "down"
    range: tuple[float | None, float | None] = (0.0, None)
    needs: tuple[str, ...] = ("features",)
    version: int = 1
    citation: str = "Heusel et al. 2017, NeurIPS; Parmar et al. 2022, clean-fid, CVPR"

    def compute(self, e: Evidence) -> MetricValue:
        """No value without pictures, with fewer than two, or where real pictures are missing."""
        pair = e.pair(*KEPT)
        if len(pair) < 2:
            return no_pictures(KEPT)
        if self.real and (e.reference is None or "features" not in e.reference):
            return missing("no real pictures to compare with", len(pair))
        ours = pair.method.array("features", "features")
        base = pair.base.array("features", "features")
        target = base
        if self.real and e.reference is not None:
            target = e.reference["features"]
        n, dims = ours.shape
        details = {"n": n, "n_reference": len(target), "dimensions": dims}
        few = f"only {n} pictures for {dims} dimensions: mostly bias" if n <= dims else ""
        note = "; ".join(filter(None, [NO_INTERVAL, few, dropped_note(pair)]))
        value = frechet_distance(ours, target)
        baseline = frechet_distance(base, target) if self.real else 0.0
        return MetricValue(value, None, None, n, baseline, None, note, details)


def frechet_distance(a: Array, b: Array) -> float:
    """FID of feature rows `a` [n, d] and `b` [m, d]; n, m >= 2.

    Moments are taken in float64 (clean-fid's folder functions keep the network's float32), the
    distance is clean-fid's. Rounding can make it about -1e-6 for equal input; that is shown as 0.
    """
    from cleanfid import fid  # imports torch, which listing metrics must not need

    rows = [np.asarray(x, dtype=np.float64) for x in (a, b)]
    if any(len(x) < 2 for x in rows):
        raise ValueError("FID needs at least two pictures on each side")
    if rows[0].shape == rows[1].shape and np.array_equal(rows[0], rows[1]):
        return 0.0  # the matrix root of a singular product has an error of 1e-4 and more
    (m1, s1), (m2, s2) = ((x.mean(axis=0), np.cov(x, rowvar=False)) for x in rows)
    # clean-fid prints a warning where the product is singular, and uses a deprecated argument.
    with warnings.catch_warnings(), contextlib.redirect_stdout(io.StringIO()):
        warnings.simplefilter("ignore")
        return max(float(fid.frechet_distance(m1, s1, m2, s2)), 0.0)


FID_BASE = Fid("fid_base", "FID to unerased", real=False)
FID_REAL = Fid("fid_real", "FID to real", real=True)
