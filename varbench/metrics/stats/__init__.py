"""Intervals over prompts, tests between methods, and the samples that they are computed from."""

from varbench.metrics.stats.intervals import (
    MIN_BASE_HITS,
    cluster_bootstrap_mean,
    cluster_means,
    cluster_total,
    clustered_rate,
    erasure_rate,
    paired_difference,
    ratio_of_means,
    total_difference,
)
from varbench.metrics.stats.paired_samples import (
    Estimate,
    PairedSamples,
    Statistic,
    estimate,
    read_rows,
    write_rows,
)
from varbench.metrics.stats.resampling import Interval
from varbench.metrics.stats.tests import holm, paired_sign_flip_pvalue

__all__ = [
    "MIN_BASE_HITS",
    "Estimate",
    "Interval",
    "PairedSamples",
    "Statistic",
    "cluster_bootstrap_mean",
    "cluster_means",
    "cluster_total",
    "clustered_rate",
    "erasure_rate",
    "estimate",
    "holm",
    "paired_difference",
    "paired_sign_flip_pvalue",
    "ratio_of_means",
    "read_rows",
    "total_difference",
    "write_rows",
]
