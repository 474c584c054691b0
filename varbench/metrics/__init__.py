"""Metrics turn the arrays of scorers and judges into numbers with intervals.

This is all that the author of a metric needs (`docs/adding-a-method.md` shows how a package offers
one); importing it needs numpy, not torch.
"""

from varbench.metrics.base import (
    FRACTION,
    NEEDS,
    PROBE,
    Better,
    Metric,
    MetricInfo,
    MetricInputs,
    MetricValue,
    Moments,
)
from varbench.metrics.estimates import (
    attributes_right,
    concept_hits,
    dropped_note,
    missing,
    no_images,
    paired_hits,
    paired_mean,
    prompt_mean,
)
from varbench.metrics.groups import Pair, ScoredImages
from varbench.metrics.registry import METRICS, PLUGINS
from varbench.metrics.stats import Interval, PairedSamples, estimate

__all__ = [
    "FRACTION",
    "METRICS",
    "NEEDS",
    "PLUGINS",
    "PROBE",
    "Better",
    "Interval",
    "Metric",
    "MetricInfo",
    "MetricInputs",
    "MetricValue",
    "Moments",
    "Pair",
    "PairedSamples",
    "ScoredImages",
    "attributes_right",
    "concept_hits",
    "dropped_note",
    "estimate",
    "missing",
    "no_images",
    "paired_hits",
    "paired_mean",
    "prompt_mean",
]
