"""LD4: do other words come to mean what the concept was replaced by?

    LD4 = mean over neutral prompts of mean over images x, anchors a of
          cos(x of the edited model, a) - cos(x of the base model, a)

An edit that teaches the model to draw a house for "church" may make it draw houses for "castle"
too. Anchors a are the base model's images of those neighbours whose label is the concept's
replacement ("house"); neutral prompts are all other `neighbours` and `unrelated` ones. Bootstrap
over prompts, with the anchors as they are.

The idea is DreamBooth's (Ruiz et al., CVPR 2023, PRES: are images of the class images of the
subject?), with the replacement in place of the subject, the base model's value taken off, and
CLIP's image rows (role `clip`) in place of DINO's, which the Gallery does not have.

`details`: `anchors` = how many images; `similarity`, `base_similarity` = the two means;
`neighbours`, `unrelated` = the value on each group.
"""

from __future__ import annotations

import numpy as np

from varbench.data.concept import Concept
from varbench.data.groups import KEPT, NEIGHBOURS
from varbench.metrics.base import MetricInfo, MetricInputs, MetricValue
from varbench.metrics.estimates import (
    PairedMetric,
    dropped_note,
    kept_means,
    missing,
    paired_mean,
    prompt_mean,
)
from varbench.metrics.groups import Array, Pair, ScoredImages


class MeaningShift(PairedMetric):
    """Change of the similarity between images of other words and the replacement's."""

    info = MetricInfo(
        id="ld4", title="LD4", better="same", unit="cos", range=(-2.0, 2.0), digits=4,
        table="drift", groups=KEPT, needs=("clip",),
        citation="language drift: Ruiz et al. 2023, DreamBooth, CVPR; this form: varbench",
        definition="Meaning shift: how much nearer images of other words have come to the "
        "replacement's, in CLIP's cosine. Above 0 they collapse into it.",
    )  # fmt: skip

    def of_pair(self, pair: Pair, inputs: MetricInputs) -> MetricValue:
        """No value without anchors or neutral prompts."""
        concept = inputs.concept
        if not concept.replacement:
            return missing("the concept has no replacement", len(pair))
        anchors = _anchors(inputs)
        neutral = np.flatnonzero(~_replacements(pair.base, concept))
        if not len(anchors) or not len(neutral):
            words = " or ".join(concept.replacement)
            why = "no other prompts" if len(anchors) else f"no neighbours labelled {words}"
            return missing(f"{why} to compare with", len(pair))
        sides = (side.take(neutral.tolist()) for side in (pair.method, pair.base))
        ours, base = (_similarity(side, anchors) for side in sides)
        clusters = pair.base.clusters[neutral]
        details = {
            "anchors": len(anchors),
            "similarity": prompt_mean(ours, clusters),
            "base_similarity": prompt_mean(base, clusters),
            **kept_means(inputs, ours - base, clusters),
        }
        unmoved, note = np.zeros_like(base), dropped_note(pair)
        return paired_mean(ours - base, unmoved, clusters, details=details, note=note)


def _replacements(group: ScoredImages, concept: Concept) -> Array:
    """[n] True where the prompt asks for the concept's replacement."""
    head = concept.judge.head
    return np.array([p.labels.get(head) in concept.replacement for p in group.prompts])


def _anchors(inputs: MetricInputs) -> Array:
    """CLIP rows [a, e] of the base model's images of the replacement."""
    images = inputs.base.get(NEIGHBOURS)
    if images is None:
        return np.empty((0, 0))
    rows: Array = images.array("clip", "image")[_replacements(images, inputs.concept)]
    return rows


def _similarity(group: ScoredImages, anchors: Array) -> Array:
    """[n] mean cosine of each image with all anchors."""
    mean = np.asarray(anchors, dtype=np.float64).mean(axis=0)
    similar: Array = np.asarray(group.array("clip", "image"), dtype=np.float64) @ mean
    return similar
