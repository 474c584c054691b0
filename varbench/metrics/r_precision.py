"""LD3: can the prompt still be told from the image? R-precision with 100 captions.

    R = mean over prompts of mean over images of
        P(the image's own caption is the most similar of 100: itself and 99 others)

(Xu et al., AttnGAN, CVPR 2018, with CLIP's cosine as similarity; Park et al., NeurIPS 2021
datasets). The 99 others are drawn from the suite's other captions of these groups. No draw is made:
with M others, m of them less similar than the own caption, the probability is C(m, 99) / C(M, 99),
exactly.

Captions that ask for the same as the own one (equal labels) are no others: a paraphrase is not
wrong. A tie counts as lost. With fewer than 99 others all of them are taken, and the note says so.

`details`: `captions` = others that an image has to beat (the fewest of all images, at most 99);
`chance` = 1 / (captions + 1); `neighbours`, `unrelated` = the value of each group with `base_`
twin; `first` = share of images whose own caption beats every caption of the suite, `base_first`.
"""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np
from numpy.typing import NDArray

from varbench.data.groups import KEPT
from varbench.data.prompt import Prompt
from varbench.metrics.base import FRACTION, MetricInfo, MetricInputs, MetricValue
from varbench.metrics.estimates import (
    PairedMetric,
    dropped_note,
    joined,
    kept_means,
    missing,
    paired_mean,
    prompt_mean,
)
from varbench.metrics.groups import Array, Floats, Pair, ScoredImages, row_blocks

OTHERS = 99


class RPrecision(PairedMetric):
    """Chance that an image's own caption is found among 100."""

    info = MetricInfo(
        id="ld3", title="LD3", better="up", unit=FRACTION, range=(0.0, 1.0), table="drift",
        groups=KEPT, needs=("clip",),
        citation="Xu et al. 2018, AttnGAN, CVPR; Park et al. 2021, NeurIPS Datasets",
        definition="R-precision: chance that CLIP finds an image's own caption among 100 of the "
        "suite.",
    )  # fmt: skip

    def of_pair(self, pair: Pair, inputs: MetricInputs) -> MetricValue:
        """No value where an image has no other caption to beat."""
        captions = _Captions(pair.base)
        fewest = int(captions.rivals.min())
        if not fewest:
            return missing("a caption has no other that asks for something else", len(pair))
        ours, our_first = captions.precision(pair.method)
        base, base_first = captions.precision(pair.base)
        clusters, drawn = pair.base.clusters, min(OTHERS, fewest)
        details = {
            "captions": drawn,
            "chance": 1 / (drawn + 1),
            "first": prompt_mean(our_first, clusters),
            "base_first": prompt_mean(base_first, clusters),
        }
        base_means = kept_means(inputs, base, clusters)
        for name, mean in kept_means(inputs, ours, clusters).items():
            details |= {name: mean, f"base_{name}": base_means[name]}
        few = f"only {fewest} other captions instead of {OTHERS}" if drawn < OTHERS else ""
        note = joined(dropped_note(pair), few)
        return paired_mean(ours, base, clusters, details=details, note=note)


class _Captions:
    """The distinct captions of a group of images; those that ask for the same are no rivals."""

    def __init__(self, group: ScoredImages) -> None:
        _, first, self.own = np.unique(group.clusters, return_index=True, return_inverse=True)
        self.texts = np.asarray(group.array("clip", "text"), np.float64)[first]  # [M, e]
        self.kinds = _kinds([group.prompts[i] for i in first])  # [M]
        self.rivals = len(first) - np.bincount(self.kinds)[self.kinds]  # [M]

    def precision(self, group: ScoredImages) -> tuple[Array, Array]:
        """Per image: chance to be found among 100, and whether its caption beats all rivals."""
        images = np.asarray(group.array("clip", "image"), np.float64)
        beaten = np.empty(len(images), np.int64)
        for rows in row_blocks(len(images)):
            similar = images[rows] @ self.texts.T
            own = np.take_along_axis(similar, self.own[rows, None], axis=1)
            # Equal captions may differ by rounding; a tie must not be won by it.
            worse = similar < own - 1e-9
            rival = self.kinds[self.own[rows], None] != self.kinds
            beaten[rows] = (worse & rival).sum(axis=1)
        rivals = self.rivals[self.own]
        return chance_of_first(beaten, rivals, OTHERS), beaten == rivals


def _kinds(prompts: Sequence[Prompt]) -> NDArray[np.int64]:
    """Equal numbers for prompts that ask for the same: equal labels, or else nothing but itself."""
    numbers: dict[object, int] = {}
    kinds = []
    for prompt in prompts:
        labels = frozenset((head, label) for head, label in prompt.labels.items() if label)
        kinds.append(numbers.setdefault(labels or prompt.id, len(numbers)))
    return np.array(kinds, dtype=np.int64)


def chance_of_first(beaten: Array, rivals: Array, drawn: int) -> Floats:
    """P(`drawn` of `rivals`, without replacement, are all among the `beaten`), elementwise.

    C(m, k) / C(M, k) = prod_{i < k} (m - i) / (M - i), with k = min(drawn, M).
    """
    m, total = np.asarray(beaten, np.float64), np.asarray(rivals, np.float64)
    chance = np.ones_like(m)
    for i in range(drawn):
        chance *= np.where(i < total, np.maximum(m - i, 0) / np.maximum(total - i, 1), 1.0)
    return chance
