"""ACC_e: how often the erased concept is still recognised on the prompts that ask for it.

    ACC_e = mean over prompts of (images whose most likely label is the concept) / images

The accuracy of the judge on the erased class, as in MACE (Lu et al., CVPR 2024) and the Imagenette
tables of ESD (Gandikota et al., ICCV 2023); lower is better. The interval is Wilson's if every
prompt has one image, otherwise Wilson's with the effective sample size of clustered images.

`details`: `others_kept` = share of the same images in which all other attributes the prompt asks
for (style, object, ...) are still right, for method and base. It tells a replaced concept from a
broken image, which ACC_e alone cannot: garbage has ACC_e = 0.

Pitfalls. Its floor is chance, not 0, for a judge that must pick one label. Images in which a
judge of faces finds no face count as not recognised (MACE's "all" variant).
"""

from __future__ import annotations

from varbench.metrics.base import MetricInputs, MetricValue
from varbench.metrics.estimates import dropped_note, no_images, paired_mean, prompt_mean
from varbench.metrics.hits import all_right, attributes_right, concept_hits
from varbench.metrics.info import FRACTION, MetricInfo


class AccErased:
    """Hit rate on the target prompts."""

    info = MetricInfo(
        id="acc_e", title="ACC_e", better="down", unit=FRACTION, range=(0.0, 1.0), version=2,
        groups=("target",), needs=("judge",), citation="Lu et al. 2024, MACE, CVPR",
        question="how often is the concept still recognised?",
        definition="Share of the concept's own prompts whose image still shows it, says the judge.",
    )  # fmt: skip

    def compute(self, e: MetricInputs) -> MetricValue:
        """No value only if there are no target images."""
        pair = e.pair("target")
        if not len(pair):
            return no_images(("target",))
        ours = concept_hits(pair.method, e.concept, e.judge_labels)
        base = concept_hits(pair.base, e.concept, e.judge_labels)
        details: dict[str, object] = {"hits": int(ours.sum()), "base_hits": int(base.sum())}
        head, clusters = e.concept.judge.head, pair.base.clusters
        for name, group in (("others_kept", pair.method), ("base_others_kept", pair.base)):
            asked, right = attributes_right(group, e.judge_labels, without=head)
            rows = asked.any(axis=1)
            kept = all_right(asked, right)
            details[name] = prompt_mean(kept[rows], clusters[rows]) if rows.any() else None
        return paired_mean(ours, base, clusters, details=details, note=dropped_note(pair))
