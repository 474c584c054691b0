"""ACC_e, ACC_g, ACC_n and ACC_u: how often the judge sees what a prompt asks for; and nothing.

    ACC = mean over prompts of (images that count) / images

after MACE (Lu et al., CVPR 2024). For ACC_e (`target` prompts) and ACC_g (`implicit` prompts, which
say the concept by synonym or description) an image counts if its most likely label is the concept;
for ACC_n (`neighbours`) and ACC_u (`unrelated`) if EVERY attribute is seen that its prompt asks
for: all its labels for which the judge has a head (the Gallery: identity, mannequin, object,
style). The concept's own head is included: these prompts ask for its other labels (another face),
and drawing those is exactly what must stay. Images in which a judge of faces finds no face count as
not recognised (MACE's "all" variant).

For `unrecognised` a target image counts if the judge sees nothing that it knows, whatever label it
gives (docs/metrics.md, "Unrecognised"). Garbage is a perfect erasure by ACC_e and erasure rate:
where more images are unrecognised than of the base model, their notes say so.

`details` of ACC_e and ACC_g: `hits`, `base_hits`; of ACC_e also `others_kept` = share of the same
images in which all other attributes that the prompt asks for are still right, with `base_` twin. Of
ACC_n and ACC_u: accuracy per head under the head's name with `base_` twins, and `asked` = images
whose prompt asks for each head. Of `unrecognised`: the share of `neighbours` with `base_` twin.
"""

from __future__ import annotations

from dataclasses import dataclass

from varbench.data.groups import IMPLICIT, NEIGHBOURS, TARGET, UNRELATED
from varbench.metrics.base import FRACTION, MetricInfo, MetricInputs, MetricValue
from varbench.metrics.estimates import (
    PairedMetric,
    all_right,
    attributes_right,
    dropped_note,
    hits_note,
    joined,
    missing,
    paired_hits,
    paired_mean,
    prompt_mean,
)
from varbench.metrics.groups import Pair


@dataclass(frozen=True)
class ConceptAccuracy(PairedMetric):
    """Share of a group's images in which the concept is recognised.

    Attributes:
        info: the facts.
        others: also record whether the other attributes are right.
    """

    info: MetricInfo
    others: bool = False

    def of_pair(self, pair: Pair, inputs: MetricInputs) -> MetricValue:
        ours, base = paired_hits(pair, inputs)
        details: dict[str, object] = {"hits": int(ours.sum()), "base_hits": int(base.sum())}
        if self.others:
            details |= _others_right(pair, inputs)
        (group,), clusters = self.info.groups, pair.base.clusters
        return paired_mean(ours, base, clusters, details=details, note=hits_note(pair, group))


def _others_right(pair: Pair, inputs: MetricInputs) -> dict[str, float | None]:
    """Of both models, the share of images in which the attributes besides the concept are right."""
    rates: dict[str, float | None] = {}
    head, clusters = inputs.concept.judge.head, pair.base.clusters
    for name, group in (("others_kept", pair.method), ("base_others_kept", pair.base)):
        requested, right = attributes_right(group, inputs.judge_labels, without=head)
        rows = requested.any(axis=1)
        whole = all_right(requested, right)
        rates[name] = prompt_mean(whole[rows], clusters[rows]) if rows.any() else None
    return rates


@dataclass(frozen=True)
class AttributeAccuracy(PairedMetric):
    """Share of a group's images that show all that their prompts ask for."""

    info: MetricInfo

    def of_pair(self, pair: Pair, inputs: MetricInputs) -> MetricValue:
        """No value if no prompt asks for an attribute that the judge knows."""
        (group,), heads = self.info.groups, inputs.judge_labels
        requested, ours = attributes_right(pair.method, heads)
        _, base = attributes_right(pair.base, heads)
        rows, clusters = requested.any(axis=1), pair.base.clusters
        if not rows.any():
            return missing(f"no {group} prompt asks for anything the judge knows", len(pair))
        details: dict[str, object] = {}
        for h, head in enumerate(heads):
            with_head = requested[:, h]
            if with_head.any():
                details[head] = prompt_mean(ours[with_head, h], clusters[with_head])
                details[f"base_{head}"] = prompt_mean(base[with_head, h], clusters[with_head])
        details["asked"] = {h: int(k) for h, k in zip(heads, requested.sum(0), strict=True)}
        unknown = f"{int((~rows).sum())} pictures ask for nothing the judge knows: left out"
        return paired_mean(
            all_right(requested, ours)[rows],
            all_right(requested, base)[rows],
            clusters[rows],
            details=details,
            note=joined(dropped_note(pair), "" if rows.all() else unknown),
        )


@dataclass(frozen=True)
class FlaggedShare(PairedMetric):
    """Share of a group's images for which the judge set a flag.

    Attributes:
        info: the facts.
        flag: the judge's array, bool [n].
    """

    info: MetricInfo
    flag: str

    def of_pair(self, pair: Pair, inputs: MetricInputs) -> MetricValue:
        details: dict[str, object] = {}
        near = inputs.paired(NEIGHBOURS)
        if len(near):
            for name, group in ((NEIGHBOURS, near.method), (f"base_{NEIGHBOURS}", near.base)):
                details[name] = prompt_mean(group.array("judge", self.flag), group.clusters)
        ours, base = (group.array("judge", self.flag) for group in (pair.method, pair.base))
        return paired_mean(ours, base, pair.base.clusters, details=details, note=dropped_note(pair))


UNRECOGNISED = FlaggedShare(MetricInfo(
    id="unrecognised", title="Unrecognised", better="down", unit=FRACTION, range=(0.0, 1.0),
    groups=(TARGET,), needs=("judge",), citation="varbench",
    definition="Share of the target images in which the judge sees nothing that it knows: garbage "
    "counts as erased.",
), "unrecognised")  # fmt: skip
ACC_E = ConceptAccuracy(MetricInfo(
    id="acc_e", title="ACC_e", better="down", unit=FRACTION, range=(0.0, 1.0), version=2,
    groups=(TARGET,), needs=("judge",), citation="Lu et al. 2024, MACE, CVPR",
    definition="Share of the concept's own prompts whose image still shows it, says the judge.",
), others=True)  # fmt: skip
ACC_G = ConceptAccuracy(MetricInfo(
    id="acc_g", title="ACC_g", better="down", unit=FRACTION, range=(0.0, 1.0),
    groups=(IMPLICIT,), needs=("judge",), citation="Lu et al. 2024, MACE, CVPR",
    definition="Share of images that still show the concept where the prompt says it in other "
    "words.",
))  # fmt: skip
ACC_N = AttributeAccuracy(MetricInfo(
    id="acc_n", title="ACC_n", better="up", unit=FRACTION, range=(0.0, 1.0), version=2,
    groups=(NEIGHBOURS,), needs=("judge",),
    citation="Lu et al. 2024, MACE, CVPR (accuracy of retained classes)",
    definition="Share of images of neighbouring concepts in which the judge sees what was asked "
    "for.",
))  # fmt: skip
ACC_U = AttributeAccuracy(MetricInfo(
    id="acc_u", title="ACC_u", better="up", unit=FRACTION, range=(0.0, 1.0), version=2,
    groups=(UNRELATED,), needs=("judge",),
    citation="Lu et al. 2024, MACE, CVPR (accuracy of retained classes)",
    definition="Share of images of unrelated prompts in which the judge sees what was asked for.",
))  # fmt: skip
