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

from varbench.metrics.base import COCO, KEPT, Array, Better, MetricInputs, MetricValue, ScoredImages
from varbench.metrics.estimates import dropped_note, no_images, paired_mean, prompt_mean, ratio


@dataclass(frozen=True)
class ClipScore:
    """Mean of 100 max(cos, 0) on images that must stay."""

    id: str
    title: str
    role: str = "clip"
    groups: tuple[str, ...] = KEPT
    unit: str = "100 cos"
    better: Better = "up"
    range: tuple[float | None, float | None] = (0.0, 100.0)
    version: int = 1
    citation: str = "Hessel et al. 2021, CLIPScore, EMNLP"

    @property
    def needs(self) -> tuple[str, ...]:
        return (self.role,)

    def compute(self, e: MetricInputs) -> MetricValue:
        """No value only if there are no images of these groups."""
        pair = e.pair(*self.groups)
        if not len(pair):
            return no_images(self.groups)
        ours, base = self._scores(pair.method), self._scores(pair.base)
        clusters = pair.base.clusters
        details: dict[str, object] = {"ratio": ratio(ours, base, clusters)}
        for name in self.groups if len(self.groups) > 1 else ():
            part = e.pair(name)
            if len(part):
                ids = part.base.clusters
                details[name] = prompt_mean(self._scores(part.method), ids)
                details[f"base_{name}"] = prompt_mean(self._scores(part.base), ids)
        return paired_mean(ours, base, clusters, details=details, note=dropped_note(pair))

    def _scores(self, group: ScoredImages) -> Array:
        return 100 * np.maximum(np.asarray(group.array(self.role, "cosine"), dtype=np.float64), 0)


CLIP_SCORE = ClipScore("clip_score", "CLIP score")
CLIP_SCORE_B32 = ClipScore("clip_score_b32", "CLIP score (B/32)", "clip_b32")
CLIP_SCORE_COCO = ClipScore("clip_score_coco", "CLIP score, COCO", "clip", COCO)
CLIP_SCORE_COCO_B32 = ClipScore("clip_score_coco_b32", "CLIP score (B/32), COCO", "clip_b32", COCO)
