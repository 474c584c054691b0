"""Erasure rate: the share of the concept's images that is gone.

    ER = 1 - hits(method) / hits(base model)

A hit is an image of the `target` prompts in which the judge's most likely label, in the
concept's head, is the concept; both models are judged on the same prompts and image seeds.
This is the ratio form that MACE reports on nudity detections (Lu et al., CVPR 2024), with images
in place of detected boxes.

`details`: `hits`, `base_hits`, and two numbers that the ratio hides because it nets them:
`conditional` = share of the base's hits that the method lost, `new` = share of the base's misses
that became hits.
"""

from __future__ import annotations

import numpy as np

from varbench.data.groups import TARGET
from varbench.metrics.base import FRACTION, MetricInfo, MetricInputs, MetricValue
from varbench.metrics.estimates import (
    PairedMetric,
    hits_note,
    joined,
    missing,
    paired_hits,
    sampled_value,
)
from varbench.metrics.groups import Pair
from varbench.metrics.stats import MIN_BASE_HITS, PairedSamples


class ErasureRate(PairedMetric):
    """1 - hits / hits of the base model on the target prompts."""

    info = MetricInfo(
        id="erasure_rate", title="Erasure rate", better="up", unit=FRACTION, range=(None, 1.0),
        version=2, groups=(TARGET,), needs=("judge",),
        citation="Lu et al. 2024, MACE, CVPR (ratio of detections)",
        definition="Share of the concept's images that is gone: 1 − hits(method) / hits(base "
        "model), on the same prompts and image seeds.",
    )  # fmt: skip

    def of_pair(self, pair: Pair, inputs: MetricInputs) -> MetricValue:
        """No value if the base hits fewer than `MIN_BASE_HITS` times, or on very few prompts."""
        ours, base = paired_hits(pair, inputs)
        clusters, n = pair.base.clusters, len(pair)
        counts = f"{int(ours.sum())} hits, {int(base.sum())} of the unerased model, {n} pictures"
        details = {
            "hits": int(ours.sum()),
            "base_hits": int(base.sum()),
            "conditional": float((base & ~ours).sum() / base.sum()) if base.any() else None,
            "new": float((ours & ~base).sum() / (~base).sum()) if not base.all() else None,
        }
        if base.sum() < MIN_BASE_HITS:
            why = f"under {MIN_BASE_HITS} hits of the unerased model give no ratio"
            return missing(f"{why}: {counts}", n, details)
        note = joined(counts, hits_note(pair, TARGET))
        samples = PairedSamples("erasure_rate", ours, base, clusters)
        value = sampled_value(samples, n, note, details)
        if value.difference is None and np.unique(clusters).size > 1:
            why = "the unerased model's hits are on too few prompts for a ratio"
            return missing(f"{why}: {counts}", n, details)
        return value
