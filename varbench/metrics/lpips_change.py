"""LPIPS_e and LPIPS_u: how much did the image of the same prompt and seed change?

    LPIPS = mean over prompts of mean over images of LPIPS(image, unerased model's image)

on the `target` prompts (LPIPS_e, of the erased: more is better) and on the `neighbours` and
`unrelated` (LPIPS_u: less is better), as ESD reports for artists' styles (Gandikota et al., ICCV
2023; LPIPS of Zhang et al., CVPR 2018, with AlexNet, here at 256 pixels and not at 64). The same
random numbers are behind both images, so an edit that does nothing has 0 exactly. Bootstrap over
prompts; the unerased model's value is 0, and the difference to it is the value.

`details`: `floor` = the same distance between two image seeds of the *unerased* model, with
interval: what two images that share nothing but the prompt are apart. For several groups also the
value of each.

Pitfalls. An image need not change more than another seed changes it: an LPIPS_e above the floor is
no evidence of more erasure, and noise has a high one. LPIPS sees change, not what has changed.
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np

from varbench.metrics.base import KEPT, Array, MetricInputs, MetricValue, ScoredImages
from varbench.metrics.estimates import dropped_note, ends, no_images, paired_mean, prompt_mean
from varbench.metrics.info import MetricInfo
from varbench.metrics.stats import intervals


@dataclass(frozen=True)
class LpipsChange:
    """Mean distance to the unerased model's images."""

    info: MetricInfo

    def compute(self, e: MetricInputs) -> MetricValue:
        """No value only if there are no images of the groups."""
        pair = e.pair(*self.info.groups)
        if not len(pair):
            return no_images(self.info.groups)
        floor = seed_distance(pair.base)
        details: dict[str, object] = {"floor": floor}
        if len(self.info.groups) > 1:
            for name in self.info.groups:
                part = e.pair(name)
                if len(part):
                    details[name] = prompt_mean(_moved(part.method), part.base.clusters)
        note = "; ".join(filter(None, [_floor_note(floor), dropped_note(pair)]))
        ours, base = _moved(pair.method), _moved(pair.base)
        return paired_mean(ours, base, pair.base.clusters, details=details, note=note)


LPIPS_E = LpipsChange(
    MetricInfo(
        id="lpips_e", title="LPIPS_e", better="up", unit="LPIPS", range=(0.0, None), digits=3,
        groups=("target",), needs=("lpips",),
        citation="Gandikota et al. 2023, ESD, ICCV; Zhang et al. 2018, LPIPS, CVPR",
        question="how much did images of the concept change?",
        definition=(
            "LPIPS between the concept's images and the unerased model's of the same prompts and "
            "seeds. Beyond the distance of two seeds it says no more."
        ),
    ),
)  # fmt: skip
LPIPS_U = LpipsChange(
    MetricInfo(
        id="lpips_u", title="LPIPS_u", better="down", unit="LPIPS", range=(0.0, None), digits=3,
        groups=KEPT, needs=("lpips",),
        citation="Gandikota et al. 2023, ESD, ICCV; Zhang et al. 2018, LPIPS, CVPR",
        question="how much did images change that must stay?",
        definition="The same for images that must stay.",
    ),
)  # fmt: skip


def seed_distance(group: ScoredImages) -> dict[str, float | None] | None:
    """Mean distance between neighbouring image seeds of a prompt, with interval.

    None without prompts that have two images; no interval with one such prompt.
    """
    rows = group.array("lpips", "next_seed")
    there, clusters = np.isfinite(rows), group.clusters
    if not there.any():
        return None
    rows, clusters = np.asarray(rows[there], np.float64), clusters[there]
    if np.unique(clusters).size < 2:
        return {"value": prompt_mean(rows, clusters), "low": None, "high": None}
    return {**ends(intervals.cluster_bootstrap_mean(rows, clusters))}


def _moved(group: ScoredImages) -> Array:
    return np.asarray(group.array("lpips", "to_base"), np.float64)


def _floor_note(floor: dict[str, float | None] | None) -> str:
    if floor is None:
        return "one picture per prompt: no floor"
    return f"floor {floor['value']:.3f}: so far apart are two seeds of the unerased model"
