"""The variance of a value from edit to edit, pooled over the methods and concepts of a suite.

Two or three edit seeds hardly tell their own variance, those of all methods and concepts together
do. Of E edits on the same C prompts, with prompt means y_ec, the analysis of variance gives

    MSE = C sum_e (y_e - y)^2 / (E - 1)
    MSI = sum_ec (y_ec - y_e - y_c + y)^2 / ((E - 1)(C - 1))

and (MSE - MSI) / C estimates the variance of the edits themselves, MSE / C that of an edit's value
with its images' noise. Rates vary in proportion to what their rows vary, p(1 - p) for hits, counts
in proportion to their mean, so these are pooled as such shares.
"""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from dataclasses import dataclass

import numpy as np

from varbench.metrics.stats.clusters import Floats, Z, t_quantile


@dataclass(frozen=True)
class EditVariance:
    """Variance of a value between edits, in units of what its rows vary (or absolute, for means).

    Attributes:
        edits: the component of the edits alone, at least 0.
        total: of an edit's value, the noise of its own images included.
        df: degrees of freedom of both.
        count: of so many edits a value is the mean.
    """

    edits: float
    total: float
    df: int
    count: int = 1

    def of_mean(self, sampling: float) -> float:
        """Variance of the mean of the edits, on the scale on which `Z` is its quantile.

        `sampling` is the part that comes from prompts and images, on that scale already.
        """
        factor = (t_quantile(self.df) / Z) ** 2 / self.count
        return max(sampling + factor * self.edits, factor * self.total)


NO_EDITS = EditVariance(0.0, 0.0, 1)
"""Of one edit: an interval that speaks of this edit alone."""


@dataclass(frozen=True)
class EditSquares:
    """Sums of one method and concept that are pooled; `df` weighs both others."""

    edits: float
    total: float
    unit: float
    df: int


def edit_squares(means_EC: Floats, unit: float) -> EditSquares | None:
    """Squares of E edits' means of the same C prompts; None for one edit or one prompt.

    `unit` is what the rows vary, 1 for absolute variances.
    """
    edits, prompts = means_EC.shape
    if edits < 2 or prompts < 2:
        return None
    of_edit, of_prompt = means_EC.mean(axis=1, keepdims=True), means_EC.mean(axis=0)
    total = float(of_edit.var(ddof=1))
    rest = means_EC - of_edit - of_prompt + means_EC.mean()
    interaction = float((rest**2).sum()) / ((edits - 1) * (prompts - 1))
    return EditSquares(total - interaction / prompts, total, unit, edits - 1)


def pooled(parts: Iterable[EditSquares | None]) -> EditVariance:
    """The variance over methods and concepts; `NO_EDITS` where nothing was edited twice."""
    present: Sequence[EditSquares] = [part for part in parts if part is not None]
    if not present:
        return NO_EDITS
    df = np.array([part.df for part in present])
    unit = float(df @ [part.unit for part in present])
    if unit <= 0:  # no row varies
        return EditVariance(0.0, 0.0, int(df.sum()))
    edits, total = (float(df @ [getattr(p, n) for p in present]) for n in ("edits", "total"))
    return EditVariance(max(edits, 0.0) / unit, total / unit, int(df.sum()))
