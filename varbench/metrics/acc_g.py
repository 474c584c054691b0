"""ACC_g: does the erasure generalise to other words for the concept?

    ACC_g = mean over prompts of (images whose most likely label is the concept) / images

on the `implicit` prompts, which ask for the concept by synonym or description: the generality of
MACE (Lu et al., CVPR 2024). Lower is better. The interval is that of `acc_e`.

`details`: `hits`, `base_hits`.

Pitfalls. Compare with the base's value: a model that never understood the other words has a low
ACC_g without any erasure.
"""

from __future__ import annotations

from varbench.metrics.base import Better, MetricInputs, MetricValue
from varbench.metrics.estimates import dropped_note, no_images, paired_mean
from varbench.metrics.hits import concept_hits


class AccImplicit:
    """Hit rate on the implicit prompts."""

    id = "acc_g"
    title = "ACC_g (other words)"
    unit = "fraction"
    better: Better = "down"
    range: tuple[float | None, float | None] = (0.0, 1.0)
    needs: tuple[str, ...] = ("judge",)
    version = 1
    citation = "Lu et al. 2024, MACE, CVPR"

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
