"""H_o: one number for erased, spared and generalised, as MACE has it for objects.

    H_o = 3 / ((1 - ACC_e)^-1 + ACC_s^-1 + (1 - ACC_g)^-1)

the harmonic mean (Lu et al., CVPR 2024), low as soon as one term is: ACC_e is the hit rate on the
`target` prompts, ACC_g that on the `implicit` ones, and ACC_s how often the other classes are still
recognised: the share of `neighbours` and `unrelated` images that show the label of the concept's
head that their prompts ask for; prompts that ask for none are left out. 0 where a term is 0. The
interval adds those of the three rates, Wilson's, as squares (`shares.harmonic_ends`); the
difference is a paired bootstrap over prompts within the groups.

`details`: `acc_e`, `acc_s`, `acc_g` with `base_` twins.

Pitfalls. The unerased model's value is low, for it erases nothing: compare methods. It is no
average, so 0.9 says that no term is under 0.75.
"""

from __future__ import annotations

import numpy as np

from varbench.metrics.base import KEPT, Array, MetricInputs, MetricValue, Pair
from varbench.metrics.estimates import dropped_note, missing, no_images, prompt_mean
from varbench.metrics.hits import Flags, attributes_right, concept_hits
from varbench.metrics.info import FRACTION, MetricInfo
from varbench.metrics.stats.subset_rates import RateSamples, SubsetRate, harmonic_value


class ObjectHarmonic:
    """Harmonic mean of 1 - ACC_e, ACC_s and 1 - ACC_g."""

    info = MetricInfo(
        id="h_o", title="H_o", better="up", unit=FRACTION, range=(0.0, 1.0),
        groups=("target", *KEPT, "implicit"), needs=("judge",),
        citation="Lu et al. 2024, MACE, CVPR",
        question="is the concept erased, and all else spared?",
        definition=(
            "Harmonic mean of 1 − ACC_e, ACC_s (other labels still seen) and 1 − ACC_g (MACE)."
        ),
    )  # fmt: skip

    def compute(self, e: MetricInputs) -> MetricValue:
        """No value without implicit prompts, or where kept prompts ask for no other label."""
        target, kept, implicit = e.pair("target"), e.pair(*KEPT), e.pair("implicit")
        for pair, groups in ((implicit, ("implicit",)), (target, ("target",)), (kept, KEPT)):
            if not len(pair):
                return no_images(groups)
        spared = _spared(e, kept)
        if spared is None:
            head = e.concept.judge.head
            return missing(f"no {' or '.join(KEPT)} prompt asks for a label of {head!r}", len(kept))
        terms = {"acc_e": _gone(e, target), "acc_s": spared, "acc_g": _gone(e, implicit)}
        details: dict[str, float] = {}
        for name, share in terms.items():
            for side, twin in ((share.method, name), (share.base, f"base_{name}")):
                rate = prompt_mean(side.hits, share.clusters)
                details[twin] = rate if name == "acc_s" else 1 - rate
        note = "; ".join(filter(None, map(dropped_note, (target, kept, implicit))))
        return harmonic_value(list(terms.values()), details, note, nothing="")  # all count


def _share(ours: Flags, base: Flags, clusters: Array) -> SubsetRate:
    counted = np.ones_like(ours)
    return SubsetRate(RateSamples(ours, counted), RateSamples(base, counted), clusters)


def _gone(e: MetricInputs, pair: Pair) -> SubsetRate:
    """The images in which the concept is not seen."""
    ours, base = (~concept_hits(g, e.concept, e.judge_labels) for g in (pair.method, pair.base))
    return _share(ours, base, pair.base.clusters)


def _spared(e: MetricInputs, pair: Pair) -> SubsetRate | None:
    """Of the images that ask for a label of the concept's head, those that show it."""
    head = {e.concept.judge.head: e.judge_labels[e.concept.judge.head]}
    asked, ours = attributes_right(pair.method, head)
    _, base = attributes_right(pair.base, head)
    rows = asked[:, 0]
    if not rows.any():
        return None
    return _share(ours[rows, 0], base[rows, 0], pair.base.clusters[rows])
