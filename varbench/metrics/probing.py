"""What the metrics of the probe share: its matched prompts, and one number per prompt from scales.

The probe (stage `probe`) asks both models what they predict on the same roll-outs; its arrays are
`[n, scales]`, row i one prompt. A number per prompt is the mean over scales, each weighing the
same: weighed by tokens, the last scale alone would decide (39 % of the tokens at 1024 pixels) and
with it texture, where composition is decided by the first.
"""

from __future__ import annotations

import numpy as np
from numpy.typing import NDArray

from varbench.metrics.base import KEPT, PROBE, MetricInputs, MetricValue, Pair, ScoredImages
from varbench.metrics.estimates import missing

Floats = NDArray[np.float64]
NO_PROBE = "nothing was probed: set suite.probe.prompts"
SAMPLING_ONLY = "not applicable: this method changes how is sampled, not what the model predicts"


def kept_prompts(e: MetricInputs) -> Pair | MetricValue:
    """ProbeOutputs prompts of the `neighbours` and `unrelated` groups, or the reason for none."""
    pair = e.probed(*KEPT)
    if len(pair):
        return pair
    return missing(SAMPLING_ONLY if e.base_probe and not e.method_probe else NO_PROBE)


def over_scales(group: ScoredImages, name: str) -> Floats:
    """One number per prompt [n]: the mean over scales of a probe array."""
    rows: Floats = np.asarray(group.array(PROBE, name), dtype=np.float64).mean(axis=1)
    return rows


def by_scale(group: ScoredImages, name: str) -> list[float]:
    """Mean over prompts per scale, coarse to fine, ready for JSON."""
    means: list[float] = np.asarray(group.array(PROBE, name), np.float64).mean(axis=0).tolist()
    return means
