"""ACC_g: does the erasure generalise to other words for the concept?

    ACC_g = mean over prompts of (images whose most likely label is the concept) / images

on the `implicit` prompts, which ask for the concept by synonym or description: the generality of
MACE (Lu et al., CVPR 2024). Lower is better. The interval is that of `acc_e`.

`details`: `hits`, `base_hits`.

Pitfalls. Compare with the base's value: a model that never understood the other words has a low
ACC_g without any erasure.
"""

from __future__ import annotations

from varbench.metrics.base import MetricInputs, MetricValue
from varbench.metrics.estimates import dropped_note, no_images, paired_mean
from varbench.metrics.hits import concept_hits
from varbench.metrics.info import FRACTION, MetricInfo


class AccImplicit:
    """Hit rate on the implicit prompts."""

    info = MetricInfo(
        id="acc_g", title="ACC_g", better="down", unit=FRACTION, range=(0.0, 1.0),
        groups=("implicit",), needs=("judge",), citation="Lu et al. 2024, MACE, CVPR",
        question="is the concept recognised where prompts say it in other words?",
        definition=(
            "Share of images that still show the concept where the prompt says it in other words."
        ),
    )  # fmt: skip

    def compute(self, e: MetricInputs) -> MetricValue:
        """No value only if there are no implicit images."""
        pair = e.pair("implicit")
        if not len(pair):
            return no_images(("implicit",))
        ours = concept_hits(pair.method, e.concept, e.judge_labels)
        base = concept_hits(pair.base, e.concept, e.judge_labels)
        details = {"hits": int(ours.sum()), "base_hits": int(base.sum())}
        clusters = pair.base.clusters
        return paired_mean(ours, base, clusters, details=details, note=dropped_note(pair))
