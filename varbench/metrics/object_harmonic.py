"""H_o: one number for erased, spared and generalised, as MACE has it for objects.

    H_o = 3 / ((1 - ACC_e)^-1 + ACC_s^-1 + (1 - ACC_g)^-1)

the harmonic mean (Lu et al., CVPR 2024), low as soon as one term is and 0 where one is 0. ACC_s is
the share of `neighbours` and `unrelated` images that show the label of the concept's head that
their prompts ask for; prompts that ask for none are left out.

`details`: `acc_e`, `acc_s`, `acc_g` with `base_` twins.
"""

from __future__ import annotations

import numpy as np

from varbench.data.groups import IMPLICIT, KEPT, TARGET
from varbench.metrics.base import FRACTION, MetricInfo, MetricInputs, MetricValue
from varbench.metrics.estimates import (
    attributes_right,
    dropped_note,
    hits_note,
    joined,
    missing,
    no_images,
    paired_hits,
    prompt_mean,
)
from varbench.metrics.groups import Array, Flags, Pair
from varbench.metrics.subset_rates import RateSamples, SubsetRate, subset_value


class ObjectHarmonic:
    """Harmonic mean of 1 - ACC_e, ACC_s and 1 - ACC_g."""

    info = MetricInfo(
        id="h_o", title="H_o", better="up", unit=FRACTION, range=(0.0, 1.0),
        groups=(TARGET, *KEPT, IMPLICIT), needs=("judge",),
        citation="Lu et al. 2024, MACE, CVPR",
        definition="Harmonic mean of 1 − ACC_e, ACC_s (other labels still seen) and 1 − ACC_g "
        "(MACE).",
    )  # fmt: skip

    def compute(self, inputs: MetricInputs) -> MetricValue:
        """No value without implicit prompts, or where kept prompts ask for no other label."""
        target, kept, implicit = (inputs.paired(*g) for g in ((TARGET,), KEPT, (IMPLICIT,)))
        for pair, groups in ((implicit, (IMPLICIT,)), (target, (TARGET,)), (kept, KEPT)):
            if not len(pair):
                return no_images(groups)
        spared = _spared(inputs, kept)
        if spared is None:
            head = inputs.concept.judge.head
            return missing(f"no {' or '.join(KEPT)} prompt asks for a label of {head!r}", len(kept))
        terms = {"acc_e": _gone(inputs, target), "acc_s": spared, "acc_g": _gone(inputs, implicit)}
        details: dict[str, float] = {}
        for name, term in terms.items():
            for side, key in ((term.method, name), (term.base, f"base_{name}")):
                rate = prompt_mean(side.hits, side.clusters)
                details[key] = rate if name == "acc_s" else 1 - rate
        note = joined(hits_note(target, TARGET), dropped_note(kept), hits_note(implicit, IMPLICIT))
        return subset_value(list(terms.values()), details, note, nothing="")  # all count


def _of_all(ours: Flags, base: Flags, clusters: Array) -> SubsetRate:
    counted = np.ones_like(ours)
    sides = (RateSamples(hits, counted, clusters) for hits in (ours, base))
    return SubsetRate(*sides)


def _gone(inputs: MetricInputs, pair: Pair) -> SubsetRate:
    """The images in which the concept is not seen."""
    ours, base = paired_hits(pair, inputs)
    return _of_all(~ours, ~base, pair.base.clusters)


def _spared(inputs: MetricInputs, pair: Pair) -> SubsetRate | None:
    """Of the images that ask for a label of the concept's head, those that show it."""
    head = {inputs.concept.judge.head: inputs.judge_labels[inputs.concept.judge.head]}
    requested, ours = attributes_right(pair.method, head)
    _, base = attributes_right(pair.base, head)
    rows = requested[:, 0]
    if not rows.any():
        return None
    return _of_all(ours[rows, 0], base[rows, 0], pair.base.clusters[rows])
