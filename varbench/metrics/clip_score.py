"""CLIP score: does the image still fit its prompt?

    CLIPScore = mean over prompts of mean over images of 100 * max(cos(image, text), 0)

(Hessel et al., EMNLP 2021, without their factor w = 2.5). CLIP_e, CLIP_s and H_a = CLIP_s - CLIP_e
are the measures of MACE for artists' styles (Lu et al., CVPR 2024, section 4.4); the neighbours of
a style are other artists. H_a is that of two groups of different prompts, whose intervals are added
as squares (Zou and Donner 2008, Stat. Med. 27:1693).

`details` of `clip_score*`: `ratio` to the base with interval, and the value of each prompt group
with `base_` twin where there are several; of `h_a`: `clip_e` and `clip_s` with `base_` twins.
"""

from __future__ import annotations

from dataclasses import dataclass, replace

import numpy as np

from varbench.data.groups import COCO, KEPT, NEIGHBOURS, TARGET
from varbench.metrics.base import MetricInfo, MetricInputs, MetricValue
from varbench.metrics.estimates import (
    ONE_PROMPT,
    PairedMetric,
    dropped_note,
    joined,
    no_images,
    paired_mean,
    prompt_mean,
    ratio,
)
from varbench.metrics.groups import Array, Pair, ScoredImages
from varbench.metrics.stats import PairedSamples, estimate
from varbench.metrics.subset_rates import interval_difference


@dataclass(frozen=True)
class ClipScore(PairedMetric):
    """Mean of 100 max(cos, 0) by the CLIP that the metric needs.

    Attributes:
        info: the facts.
        by_group: also record the ratio to the base and the value of each group.
    """

    info: MetricInfo
    by_group: bool = True

    def of_pair(self, pair: Pair, inputs: MetricInputs) -> MetricValue:
        (role,), groups = self.info.needs, self.info.groups
        ours, base = (_scores(side, role) for side in (pair.method, pair.base))
        clusters = pair.base.clusters
        details: dict[str, object] = {}
        if self.by_group:
            details["ratio"] = ratio(ours, base, clusters)
        for name in groups if len(groups) > 1 else ():
            part = inputs.paired(name)
            if len(part):
                details[name] = prompt_mean(_scores(part.method, role), part.base.clusters)
                details[f"base_{name}"] = prompt_mean(_scores(part.base, role), part.base.clusters)
        return paired_mean(ours, base, clusters, details=details, note=dropped_note(pair))


class StyleMargin:
    """CLIP_s - CLIP_e."""

    info = MetricInfo(
        id="h_a", title="H_a", better="up", unit="100 cos", range=(-100.0, 100.0),
        groups=(TARGET, NEIGHBOURS), needs=("clip_b32",),
        citation="Lu et al. 2024, MACE, CVPR",
        definition="CLIP_s − CLIP_e (MACE).",
    )  # fmt: skip

    def compute(self, inputs: MetricInputs) -> MetricValue:
        """No value if one of the groups has no images."""
        pairs = [inputs.paired(TARGET), inputs.paired(NEIGHBOURS)]
        for name, pair in zip((TARGET, NEIGHBOURS), pairs, strict=True):
            if not len(pair):
                return no_images((name,))
        samples_e, samples_s = map(_samples, pairs)
        details = {
            "clip_e": prompt_mean(samples_e.method, samples_e.clusters),
            "clip_s": prompt_mean(samples_s.method, samples_s.clusters),
            "base_clip_e": prompt_mean(samples_e.base, samples_e.clusters),
            "base_clip_s": prompt_mean(samples_s.base, samples_s.clusters),
        }
        value = details["clip_s"] - details["clip_e"]
        baseline = details["base_clip_s"] - details["base_clip_e"]
        n, note = sum(map(len, pairs)), dropped_note(*pairs)
        erased, spared = estimate([samples_e]), estimate([samples_s])
        if erased is None or spared is None:
            note = joined(note, ONE_PROMPT)
            return MetricValue(value, None, None, n, baseline, None, note, details)
        margin = interval_difference(spared.value, erased.value)
        difference = interval_difference(spared.difference, erased.difference)
        return MetricValue(value, margin.low, margin.high, n, baseline, difference, note, details)


def _samples(pair: Pair) -> PairedSamples:
    ours, base = (_scores(side, "clip_b32") for side in (pair.method, pair.base))
    return PairedSamples("mean", ours, base, pair.base.clusters)


def _scores(group: ScoredImages, role: str) -> Array:
    return 100 * np.maximum(np.asarray(group.array(role, "cosine"), dtype=np.float64), 0)


CLIP_SCORE = ClipScore(MetricInfo(
    id="clip_score", title="CLIP score", better="up", unit="100 cos", range=(0.0, 100.0),
    groups=KEPT, needs=("clip",), citation="Hessel et al. 2021, CLIPScore, EMNLP",
    definition="100 × cosine of image and prompt in CLIP's space: does the image follow the "
    "prompt?",
))  # fmt: skip
CLIP_SCORE_B32 = ClipScore(replace(
    CLIP_SCORE.info, id="clip_score_b32", title="CLIP score (B/32)", needs=("clip_b32",),
    definition="The same with CLIP ViT-B/32, for comparison with papers.",
))  # fmt: skip
CLIP_SCORE_COCO = ClipScore(replace(
    CLIP_SCORE.info, id="clip_score_coco", title="CLIP score (COCO)", groups=(COCO,),
    definition="CLIP score of images of COCO captions.",
))  # fmt: skip
CLIP_SCORE_COCO_B32 = ClipScore(replace(
    CLIP_SCORE_COCO.info, id="clip_score_coco_b32", title="CLIP score (COCO, B/32)",
    needs=("clip_b32",),
    definition='The same with CLIP ViT-B/32: the column "CLIP" of most papers on erasure.',
))  # fmt: skip
CLIP_E = ClipScore(MetricInfo(
    id="clip_e", title="CLIP_e", better="down", unit="100 cos", range=(0.0, 100.0),
    groups=(TARGET,), needs=("clip_b32",), citation="Lu et al. 2024, MACE, CVPR",
    definition="CLIP score (ViT-B/32) of the concept's images with their prompts.",
), by_group=False)  # fmt: skip
CLIP_S = ClipScore(replace(
    CLIP_E.info, id="clip_s", title="CLIP_s", better="up", groups=(NEIGHBOURS,),
    definition="CLIP score (ViT-B/32) of the neighbours' images with their prompts.",
), by_group=False)  # fmt: skip
