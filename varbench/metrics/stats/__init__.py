"""Intervals over prompts and edits, tests between methods, and the samples that they start from."""

from varbench.metrics.stats.clusters import Interval
from varbench.metrics.stats.means import clustered_mean, ratio_of_means
from varbench.metrics.stats.paired_samples import (
    Between,
    Estimate,
    PairedSamples,
    Statistic,
    between_edits,
    equality,
    estimate,
)
from varbench.metrics.stats.rates import MIN_BASE_HITS, clustered_rate, rate_difference
from varbench.metrics.stats.row_files import read_rows, write_rows
from varbench.metrics.stats.tests import holm

__all__ = [
    "MIN_BASE_HITS",
    "Between",
    "Estimate",
    "Interval",
    "PairedSamples",
    "Statistic",
    "between_edits",
    "clustered_mean",
    "clustered_rate",
    "equality",
    "estimate",
    "holm",
    "rate_difference",
    "ratio_of_means",
    "read_rows",
    "write_rows",
]
