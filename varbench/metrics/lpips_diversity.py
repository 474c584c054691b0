"""LPIPS diversity: how far apart the images of one prompt are, from one seed to the next.

    D = mean over prompts of mean over s of LPIPS(image of seed s, image of seed s + 1)

on the `neighbours` and `unrelated` prompts: the diversity of BicycleGAN (Zhu et al., NeurIPS 2017;
DIV of DreamBooth), which takes the mean over *all* pairs of a prompt's images. Only neighbouring
seeds are compared here, which costs k - 1 distances per prompt instead of k (k - 1) / 2. Seeds are
independent, so every pair has the same expectation, and so has D; it varies somewhat more. LPIPS
with AlexNet at 256 pixels. Bootstrap over prompts, paired difference to the unerased model.

`details`: `pairs` = distances behind the value; `kept` = ratio to the base with interval, 1 for
none, 0 for total collapse; `target_kept`, the same on the target prompts.

Pitfalls. Noise and broken images raise it: read it beside FID. It needs two image seeds.
"""

from __future__ import annotations

import numpy as np

from varbench.metrics.base import KEPT, Array, MetricInputs, MetricValue, Pair
from varbench.metrics.estimates import dropped_note, missing, no_images, paired_mean, ratio
from varbench.metrics.info import MetricInfo


class LpipsDiversity:
    """Mean LPIPS between neighbouring image seeds of one prompt."""

    info = MetricInfo(
        id="lpips_diversity", title="LPIPS div.", better="up", unit="LPIPS", range=(0.0, None),
        digits=3, groups=KEPT, needs=("lpips",),
        citation="Zhu et al. 2017, BicycleGAN, NeurIPS; Zhang et al. 2018, LPIPS, CVPR",
        question="how far apart are a prompt's images, from seed to seed?",
        definition=(
            "Mean LPIPS from one image seed of a prompt to the next: a collapsed model has none."
        ),
    )  # fmt: skip

    def compute(self, e: MetricInputs) -> MetricValue:
        """No value with one image per prompt."""
        pair = e.pair(*KEPT)
        if not len(pair):
            return no_images(KEPT)
        ours, base, clusters = _between_seeds(pair)
        if not ours.size:
            return missing("one picture per prompt: no pairs", len(pair))
        details: dict[str, object] = {
            "pairs": int(ours.size),
            "kept": ratio(ours, base, clusters),
            "target_kept": ratio(*_between_seeds(e.pair("target"))),
        }
        n = int(np.isin(pair.base.clusters, clusters).sum())
        return paired_mean(ours, base, clusters, details=details, note=dropped_note(pair), n=n)


def _between_seeds(pair: Pair) -> tuple[Array, Array, Array]:
    """Distances of method and base to the next seed, where both have them, and prompt ids."""
    if not len(pair):
        return np.empty(0), np.empty(0), np.empty(0, np.str_)
    sides = [
        np.asarray(side.array("lpips", "next_seed"), np.float64)
        for side in (pair.method, pair.base)
    ]
    there = np.isfinite(sides[0]) & np.isfinite(sides[1])
    return sides[0][there], sides[1][there], pair.base.clusters[there]
