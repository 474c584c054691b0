"""Intervals over prompts, tests between methods, and the samples that they are computed from."""

from varbench.metrics.stats.intervals import (
    MIN_BASE_HITS,
    Interval,
    cluster_bootstrap_mean,
    cluster_means,
    clustered_mean,
    clustered_rate,
    erasure_rate,
    paired_difference,
    ratio_of_means,
)
from varbench.metrics.stats.paired_samples import (
    PairedSamples,
    estimate,
    read_rows,
    write_rows,
)
from varbench.metrics.stats.tests import holm, paired_sign_flip_pvalue

__all__ = [
    "MIN_BASE_HITS",
    "Interval",
    "PairedSamples",
    "cluster_bootstrap_mean",
    "cluster_means",
    "clustered_mean",
    "clustered_rate",
    "erasure_rate",
    "estimate",
    "holm",
    "paired_difference",
    "paired_sign_flip_pvalue",
    "ratio_of_means",
    "read_rows",
    "write_rows",
]
