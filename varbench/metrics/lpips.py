"""LPIPS_e, LPIPS_u and LPIPS diversity: perceptual distances between pairs of images.

    LPIPS_e, LPIPS_u = mean over prompts of mean over images of LPIPS(image, base model's image)
    diversity = mean over prompts of mean over s of LPIPS(image of seed s, image of seed s + 1)

LPIPS is that of Zhang et al. (CVPR 2018), with AlexNet at 256 pixels. LPIPS_e and LPIPS_u are
ESD's for artists' styles (Gandikota et al., ICCV 2023; there at 64 pixels); the base model's value
is 0. `details`: `floor` = the same distance between two image seeds of the *base* model, with
interval: what two images that share nothing but the prompt are apart. For several groups also the
value of each.

The diversity is that of BicycleGAN (Zhu et al., NeurIPS 2017; DIV of DreamBooth) over neighbouring
seeds only: k - 1 distances per prompt instead of k (k - 1) / 2, with the same expectation.
`details`: `pairs` = distances behind the value; `kept` = ratio to the base with interval, 1 for
none, 0 for total collapse; `target_kept`, the same on the target prompts.
"""

from __future__ import annotations

from dataclasses import dataclass, replace

import numpy as np

from varbench.data.groups import KEPT, TARGET
from varbench.metrics.base import MetricInfo, MetricInputs, MetricValue
from varbench.metrics.estimates import (
    PairedMetric,
    dropped_note,
    joined,
    mean_ends,
    missing,
    paired_mean,
    prompt_mean,
    ratio,
)
from varbench.metrics.groups import Array, Pair, ScoredImages


@dataclass(frozen=True)
class LpipsChange(PairedMetric):
    """Mean distance to the base model's images."""

    info: MetricInfo

    def of_pair(self, pair: Pair, inputs: MetricInputs) -> MetricValue:
        groups = self.info.groups
        floor = seed_distance(pair.base)
        details: dict[str, object] = {"floor": floor}
        for name in groups if len(groups) > 1 else ():
            part = inputs.paired(name)
            if len(part):
                details[name] = prompt_mean(_change(part.method), part.base.clusters)
        note = joined(_floor_note(floor), dropped_note(pair))
        ours, base = _change(pair.method), _change(pair.base)
        return paired_mean(ours, base, pair.base.clusters, details=details, note=note)


class LpipsDiversity(PairedMetric):
    """Mean LPIPS between neighbouring image seeds of one prompt."""

    info = MetricInfo(
        id="lpips_diversity", title="LPIPS div.", better="up", unit="LPIPS", range=(0.0, None),
        digits=3, groups=KEPT, needs=("lpips",),
        citation="Zhu et al. 2017, BicycleGAN, NeurIPS; Zhang et al. 2018, LPIPS, CVPR",
        definition="Mean LPIPS from one image seed of a prompt to the next: a collapsed model has "
        "none.",
    )  # fmt: skip

    def of_pair(self, pair: Pair, inputs: MetricInputs) -> MetricValue:
        """No value with one image per prompt."""
        ours, base, clusters = _between_seeds(pair)
        if not ours.size:
            return missing("one picture per prompt: no pairs", len(pair))
        details: dict[str, object] = {
            "pairs": int(ours.size),
            "kept": ratio(ours, base, clusters),
            "target_kept": ratio(*_between_seeds(inputs.paired(TARGET))),
        }
        n = int(np.isin(pair.base.clusters, clusters).sum())
        return paired_mean(ours, base, clusters, details=details, note=dropped_note(pair), n=n)


def seed_distance(group: ScoredImages) -> dict[str, float | None] | None:
    """Mean distance between neighbouring image seeds of a prompt, with interval.

    None without prompts that have two images; no interval with one such prompt.
    """
    rows = group.array("lpips", "next_seed")
    measured, clusters = np.isfinite(rows), group.clusters
    if not measured.any():
        return None
    return mean_ends(np.asarray(rows[measured], np.float64), clusters[measured])


def _change(group: ScoredImages) -> Array:
    return np.asarray(group.array("lpips", "to_base"), np.float64)


def _floor_note(floor: dict[str, float | None] | None) -> str:
    if floor is None:
        return "one picture per prompt: no floor"
    return f"floor {floor['value']:.3f}: so far apart are two seeds of the unerased model"


def _between_seeds(pair: Pair) -> tuple[Array, Array, Array]:
    """Distances of method and base to the next seed, where both have them, and prompt ids."""
    if not len(pair):
        return np.empty(0), np.empty(0), np.empty(0, np.str_)
    ours, base = (
        np.asarray(side.array("lpips", "next_seed"), np.float64)
        for side in (pair.method, pair.base)
    )
    measured = np.isfinite(ours) & np.isfinite(base)
    return ours[measured], base[measured], pair.base.clusters[measured]


LPIPS_E = LpipsChange(MetricInfo(
    id="lpips_e", title="LPIPS_e", better="up", unit="LPIPS", range=(0.0, None), digits=3,
    groups=(TARGET,), needs=("lpips",),
    citation="Gandikota et al. 2023, ESD, ICCV; Zhang et al. 2018, LPIPS, CVPR",
    definition="LPIPS between the concept's images and the base model's of the same prompts and "
    "seeds. Beyond the distance of two seeds it says no more.",
))  # fmt: skip
LPIPS_U = LpipsChange(replace(
    LPIPS_E.info, id="lpips_u", title="LPIPS_u", better="down", groups=KEPT,
    definition="The same for images that must stay.",
))  # fmt: skip
