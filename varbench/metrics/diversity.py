"""Vendi score and pairwise distance: how different the images of one prompt are.

Erasure can make a model draw the same image whatever the seed (mode collapse). So diversity is
taken per prompt over its k image seeds; prompts that lost images are left out, so that k is one
number. With the unit rows f of the `features` scorer,

    Vendi = mean over prompts of exp(-sum_i l_i ln l_i),  l = eigenvalues of K / k,
            K_ij = cos(f_i, f_j)
    D = mean over prompts of mean over pairs i < j of |f_i - f_j|

Vendi (Friedman and Dieng, TMLR 2023), the effective number of different images, is between 1 (all
alike) and k (all orthogonal); rows are not centred, as in the paper. With k = 1 the value is that
of the pool of all prompts, without interval. The pairwise distance has the form of BicycleGAN's
mean pairwise LPIPS (Zhu et al., NeurIPS 2017) with features in place of LPIPS.

`details`: `k`; `kept` = ratio to the base with interval (of Vendi (mean - 1) / (base's mean - 1)),
1 for none, 0 for total collapse, the number to compare across suites; `target_kept`, the same on
the target prompts (do the concept's replacements vary?). Of Vendi also `pool`, `base_pool`,
`pool_ratio` over all kept images at once, which also sees different prompts giving the same image.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass

import numpy as np

from varbench.data.groups import KEPT, TARGET
from varbench.metrics.base import MetricInfo, MetricInputs, MetricValue
from varbench.metrics.estimates import (
    PairedMetric,
    dropped_note,
    joined,
    missing,
    paired_mean,
    ratio,
)
from varbench.metrics.groups import Array, Floats, Pair, ScoredImages


@dataclass(frozen=True)
class Diversity(PairedMetric):
    """Mean of a measure of a prompt's images.

    Attributes:
        info: the facts.
        measure: of the unit feature rows [k, d] of one prompt.
        least: its value where all images are alike.
        pooled: also record the measure of all prompts' images at once.
    """

    info: MetricInfo
    measure: Callable[[Floats], float]
    least: float
    pooled: bool

    def of_pair(self, pair: Pair, inputs: MetricInputs) -> MetricValue:
        """With one image per prompt the pool's value, where there is one, without interval."""
        spared, target = (by_prompt(p, self.measure) for p in (pair, inputs.paired(TARGET)))
        details: dict[str, object] = {"k": spared.images}
        if self.pooled:
            pool, base_pool = (self.measure(unit_features(g)) for g in (pair.method, pair.base))
            details |= {"pool": pool, "base_pool": base_pool, "pool_ratio": pool / base_pool}
            if spared.images < 2:
                note = "one picture per prompt: pooled over prompts, no interval"
                return MetricValue(pool, None, None, len(pair), base_pool, None, note, details)
        if spared.images < 2:
            return missing("one picture per prompt: no pairs", len(pair))
        for name, part in (("kept", spared), ("target_kept", target)):
            details[name] = ratio(part.method - self.least, part.base - self.least, part.ids)
        ours, base, n = spared.method, spared.base, spared.ids.size * spared.images
        return paired_mean(ours, base, spared.ids, details=details, note=spared.note, n=n)


@dataclass(frozen=True)
class ByPrompt:
    """A diversity per prompt [J] of both models, sorted by prompt id."""

    ids: Array
    method: Floats
    base: Floats
    images: int  # k per prompt; below 2 there are no values
    note: str


def by_prompt(pair: Pair, measure: Callable[[Floats], float]) -> ByPrompt:
    """Apply `measure` to the unit feature rows [k, d] of each prompt."""
    ids, starts, sizes = np.unique(pair.base.clusters, return_index=True, return_counts=True)
    k = int(sizes.max(initial=0))
    full = sizes == k
    if k < 2:
        return ByPrompt(ids[:0], np.empty(0), np.empty(0), k, "")
    sides = []
    for group in (pair.method, pair.base):
        rows = unit_features(group)  # sorted by prompt, so a prompt's rows are neighbours
        sides.append(np.array([measure(rows[s : s + k]) for s in starts[full]]))
    lost = "" if full.all() else f"{int((~full).sum())} prompts with under {k} pictures left out"
    return ByPrompt(ids[full], sides[0], sides[1], k, joined(lost, dropped_note(pair)))


def unit_features(group: ScoredImages) -> Floats:
    """Feature rows of length one, [n, d + 1] float64.

    The extra column is 1 for a row of zeros (a network of ReLUs can give one for a blank image),
    0 otherwise: zeros then equal each other and resemble nothing else.
    """
    rows = np.asarray(group.array("features", "features"), dtype=np.float64)
    length = np.linalg.norm(rows, axis=1, keepdims=True)
    blank = length == 0
    return np.concatenate([rows / np.where(blank, 1.0, length), blank], axis=1)


def vendi_score(rows: Floats) -> float:
    """Vendi score of unit rows [n, d], between 1 and min(n, d)."""
    n, d = rows.shape
    # K / n and its d x d twin have the same eigenvalues but for zeros, which add nothing.
    gram = rows @ rows.T if n <= d else rows.T @ rows
    values = np.linalg.eigvalsh(gram / n)
    values = values[values > 1e-12]  # x ln x -> 0; rounding can leave zeros slightly negative
    return max(1.0, float(np.exp(-(values * np.log(values)).sum())))


def mean_distance(rows: Floats) -> float:
    """Mean Euclidean distance over all pairs of different rows of [k, d], k >= 2."""
    i, j = np.triu_indices(len(rows), 1)
    return float(np.linalg.norm(rows[i] - rows[j], axis=1).mean())


VENDI = Diversity(MetricInfo(
    id="vendi", title="Vendi", better="up", unit="images", range=(1.0, None), groups=KEPT,
    needs=("features",), citation="Friedman and Dieng 2023, TMLR",
    definition="Vendi score: how many clearly different images the pool is worth.",
), vendi_score, least=1.0, pooled=True)  # fmt: skip
PAIRWISE_DISTANCE = Diversity(MetricInfo(
    id="pairwise_distance", title="Pairwise dist.", better="up", unit="", range=(0.0, 2.0),
    digits=3, groups=KEPT, needs=("features",),
    citation="Zhu et al. 2017, BicycleGAN, NeurIPS (mean pairwise LPIPS)",
    definition="Mean distance of features between images of one prompt: a collapsed model has "
    "none.",
), mean_distance, least=0.0, pooled=False)  # fmt: skip
