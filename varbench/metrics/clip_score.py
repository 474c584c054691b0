"""CLIP score: does the image still fit its prompt?

    CLIPScore = mean over prompts of mean over images of 100 * max(cos(image, text), 0)

(Hessel et al., EMNLP 2021, without their factor w = 2.5, as torchmetrics and the erasure papers
print it). Bootstrap over prompts, paired difference to the unerased model. Four columns:

| id | images | CLIP |
|---|---|---|
| `clip_score` | `neighbours` and `unrelated` together | role `clip`: ViT-L/14, or the Gallery's |
| `clip_score_b32` | the same | ViT-B/32, for comparison with papers |
| `clip_score_coco` | group `coco` | role `clip` |
| `clip_score_coco_b32` | group `coco` | ViT-B/32: the column "CLIP" of most papers on erasure |

`details`: `ratio` to the base with interval, and the value of each prompt group with `base_` twin
where there are several.

Pitfalls. Values of different CLIP models are not comparable; prompts beyond the text encoder's
length are cut. The score saturates: one point is a large loss, so read the difference. It also
rewards typical images, hence says little of diversity. Papers print it times 100, 1 or 2.5.
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np

from varbench.metrics.base import COCO, KEPT, Array, MetricInputs, MetricValue, ScoredImages
from varbench.metrics.estimates import dropped_note, no_images, paired_mean, prompt_mean, ratio
from varbench.metrics.info import MetricInfo


@dataclass(frozen=True)
class ClipScore:
    """Mean of 100 max(cos, 0) on images that must stay."""

    info: MetricInfo

    def compute(self, e: MetricInputs) -> MetricValue:
        """No value only if there are no images of these groups."""
        pair = e.pair(*self.info.groups)
        if not len(pair):
            return no_images(self.info.groups)
        ours, base = self._scores(pair.method), self._scores(pair.base)
        clusters = pair.base.clusters
        details: dict[str, object] = {"ratio": ratio(ours, base, clusters)}
        for name in self.info.groups if len(self.info.groups) > 1 else ():
            part = e.pair(name)
            if len(part):
                ids = part.base.clusters
                details[name] = prompt_mean(self._scores(part.method), ids)
                details[f"base_{name}"] = prompt_mean(self._scores(part.base), ids)
        return paired_mean(ours, base, clusters, details=details, note=dropped_note(pair))

    def _scores(self, group: ScoredImages) -> Array:
        return 100 * np.maximum(
            np.asarray(group.array(self.info.needs[0], "cosine"), dtype=np.float64), 0
        )


CLIP_SCORE = ClipScore(
    MetricInfo(
        id="clip_score", title="CLIP score", better="up", unit="100 cos", range=(0.0, 100.0),
        groups=KEPT, needs=("clip",), citation="Hessel et al. 2021, CLIPScore, EMNLP",
        question="does the image still fit its prompt?",
        definition=(
            "100 × cosine of image and prompt in CLIP's space: does the image follow the prompt?"
        ),
    ),
)  # fmt: skip
CLIP_SCORE_B32 = ClipScore(
    MetricInfo(
        id="clip_score_b32", title="CLIP score (B/32)", better="up", unit="100 cos",
        range=(0.0, 100.0), groups=KEPT, needs=("clip_b32",),
        citation="Hessel et al. 2021, CLIPScore, EMNLP",
        question="does the image still fit its prompt?",
        definition="The same with CLIP ViT-B/32, for comparison with papers.",
    ),
)  # fmt: skip
CLIP_SCORE_COCO = ClipScore(
    MetricInfo(
        id="clip_score_coco", title="CLIP score (COCO)", better="up", unit="100 cos",
        range=(0.0, 100.0), groups=COCO, needs=("clip",),
        citation="Hessel et al. 2021, CLIPScore, EMNLP",
        question="does the image still fit its caption?",
        definition="CLIP score of images of COCO captions.",
    ),
)  # fmt: skip
CLIP_SCORE_COCO_B32 = ClipScore(
    MetricInfo(
        id="clip_score_coco_b32", title="CLIP score (COCO, B/32)", better="up", unit="100 cos",
        range=(0.0, 100.0), groups=COCO, needs=("clip_b32",),
        citation="Hessel et al. 2021, CLIPScore, EMNLP",
        question="does the image still fit its caption?",
        definition="The same with CLIP ViT-B/32: the column \"CLIP\" of most papers on erasure.",
    ),
)  # fmt: skip
