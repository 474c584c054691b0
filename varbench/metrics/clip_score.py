"""CLIP score: does the picture still fit its prompt?

    CLIPScore = mean over prompts of mean over pictures of 100 * max(cos(image, text), 0)

on the `neighbours` and `unrelated` pictures together (Hessel et al., EMNLP 2021, without their
factor w = 2.5, as torchmetrics and the erasure papers print it). Bootstrap over prompts, paired
difference to the unerased model.

`details`: `ratio` to the base with interval, and the value of each prompt group with `base_` twin.

Pitfalls. Values of different CLIP models are not comparable; prompts beyond the text encoder's
length are cut. The score saturates: one point is a large loss, so read the difference. It also
rewards typical pictures, hence says little of diversity.
"""

from __future__ import annotations

import numpy as np

from varbench.metrics.base import KEPT, Array, Better, Evidence, Group, MetricValue
from varbench.metrics.estimates import dropped_note, no_pictures, paired_mean, prompt_mean, ratio


class ClipScore:
    """Mean of 100 max(cos, 0) on the pictures that must stay."""

    id = "clip_score"
    title = "CLIP score"
    unit = "100 cos"
    better: Better = "up"
    range: tuple[float | None, float | None] = (0.0, 100.0)
    needs: tuple[str, ...] = ("clip",)
    version = 1
    citation = "Hessel et al. 2021, CLIPScore, EMNLP"

    def compute(self, e: Evidence) -> MetricValue:
        """No value only if there are no neighbours or unrelated pictures."""
        pair = e.pair(*KEPT)
        if not len(pair):
            return no_pictures(KEPT)
        ours, base, clusters = _scores(pair.method), _scores(pair.base), pair.base.clusters
        details: dict[str, object] = {"ratio": ratio(ours, base, clusters)}
        for name in KEPT:
            part = e.pair(name)
            if len(part):
                ids = part.base.clusters
                details[name] = prompt_mean(_scores(part.method), ids)
                details[f"base_{name}"] = prompt_mean(_scores(part.base), ids)
        return paired_mean(ours, base, clusters, details=details, note=dropped_note(pair))


def _scores(group: Group) -> Array:
    return 100 * np.maximum(np.asarray(group.array("clip", "cosine"), dtype=np.float64), 0)
