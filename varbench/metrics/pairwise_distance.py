"""Pairwise distance: how far apart the images of one prompt are.

    D = mean over prompts of mean over pairs i < j of |f_i/|f_i| - f_j/|f_j||

over a prompt's image seeds, on the `neighbours` and `unrelated` prompts; between 0 (all alike)
and 2. The form is the diversity of BicycleGAN (Zhu et al., NeurIPS 2017), mean pairwise LPIPS, with
the distance of the `features` scorer's unit rows in place of LPIPS (which needs images and
AlexNet weights). Bootstrap over prompts, paired difference to the unerased model.

`details`: `k` images per prompt; `kept` = ratio to the base with interval, 1 for none, 0 for
total collapse; `target_kept`, the same on the target prompts.

Pitfalls. Noise and broken images raise it: read it beside FID. Unlike the Vendi score its
expectation does not depend on k, but it needs k >= 2.
"""

from __future__ import annotations

import numpy as np

from varbench.metrics.base import KEPT, MetricInputs, MetricValue
from varbench.metrics.diversity import Floats, by_prompt
from varbench.metrics.estimates import missing, no_images, paired_mean, ratio
from varbench.metrics.info import MetricInfo


class PairwiseDistance:
    """Mean distance of unit features between images of one prompt."""

    info = MetricInfo(
        id="pairwise_distance", title="Pairwise dist.", better="up", unit="", range=(0.0, 2.0),
        digits=3, groups=KEPT, needs=("features",),
        citation="Zhu et al. 2017, BicycleGAN, NeurIPS (mean pairwise LPIPS)",
        question="how far apart are a prompt's images?",
        definition=(
            "Mean distance of features between images of one prompt: a collapsed model has none."
        ),
    )  # fmt: skip

    def compute(self, e: MetricInputs) -> MetricValue:
        """No value with one image per prompt."""
        kept, target = (by_prompt(e, groups, mean_distance) for groups in (KEPT, ("target",)))
        if kept.images == 0:
            return no_images(KEPT)
        if kept.images < 2:
            return missing("one picture per prompt: no pairs", len(e.pair(*KEPT)))
        return paired_mean(
            kept.method,
            kept.base,
            kept.ids,
            details={
                "k": kept.images,
                "kept": ratio(kept.method, kept.base, kept.ids),
                "target_kept": ratio(target.method, target.base, target.ids),
            },
            note=kept.note,
            n=kept.ids.size * kept.images,
        )


def mean_distance(rows: Floats) -> float:
    """Mean Euclidean distance over all pairs of different rows of [k, d], k >= 2."""
    i, j = np.triu_indices(len(rows), 1)
    return float(np.linalg.norm(rows[i] - rows[j], axis=1).mean())
