"""Face rate: in how many images of the erased name is there a face at all?

    face_rate = mean over prompts of (target images with a face) / images

A model that draws no face for a name scores as having erased it, and a protocol that leaves
images without a face out of the denominator does not even see it. So this number stands beside
both; the nearer to the unerased model's the better. Whether there is a face is the judge's
word: NudeNet's FACE_FEMALE or FACE_MALE with a score of 0.5 or more for `clip-names`, the
detectors of GCD and dlib for `gcd` and `faces`. Wilson's interval, clustered.

`details`: the rate of `neighbours`, with its `base_` twin.

Pitfalls. Prompts that ask for a drawing or a figure far away have fewer faces that a detector
finds: compare with the unerased model, not with 1.
"""

from __future__ import annotations

from varbench.metrics.base import Better, MetricInputs, MetricValue
from varbench.metrics.estimates import dropped_note, no_images, paired_mean, prompt_mean


class FaceRate:
    """Share of target images with a face."""

    id = "face_rate"
    title = "Face rate"
    unit = "fraction"
    better: Better = "same"
    range: tuple[float | None, float | None] = (0.0, 1.0)
    needs: tuple[str, ...] = ("judge", "judge.face")
    version = 1
    citation = "Lu et al. 2024, MACE, CVPR (pictures without a face)"

    def compute(self, e: MetricInputs) -> MetricValue:
        """No value only if there are no target images."""
        pair = e.pair("target")
        if not len(pair):
            return no_images(("target",))
        details: dict[str, object] = {}
        near = e.pair("neighbours")
        if len(near):
            for name, group in (("neighbours", near.method), ("base_neighbours", near.base)):
                details[name] = prompt_mean(group.array("judge", "face"), group.clusters)
        ours, base = (group.array("judge", "face") for group in (pair.method, pair.base))
        return paired_mean(ours, base, pair.base.clusters, details=details, note=dropped_note(pair))
