"""From one number per image to a `MetricValue`: prompt mean, interval, paired difference."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import asdict
from typing import Any

import numpy as np

from varbench.metrics.base import Array, MetricValue, Pair
from varbench.metrics.stats import intervals
from varbench.metrics.stats.paired_samples import PairedSamples, estimate

ONE_PROMPT = "one prompt only: no interval over prompts"


def missing(note: str, n: int = 0, details: Mapping[str, Any] | None = None) -> MetricValue:
    """No value, and the reason."""
    return MetricValue(None, None, None, n, note=note, details=details or {})


def no_images(groups: tuple[str, ...]) -> MetricValue:
    """The suite generated nothing for these groups, or no image of both models matches."""
    return missing(f"no pictures of {' or '.join(groups)} prompts from both models")


def prompt_mean(rows: Array, clusters: Array) -> float:
    """Mean over prompts of the prompt's mean; the value without its interval."""
    _, inverse = np.unique(clusters, return_inverse=True)
    sums = np.bincount(inverse, weights=np.asarray(rows, dtype=np.float64))
    return float((sums / np.bincount(inverse)).mean())


def paired_mean(
    method: Array,
    base: Array,
    clusters: Array,
    *,
    details: Mapping[str, Any] | None = None,
    note: str = "",
    n: int | None = None,
) -> MetricValue:
    """Mean of `method` [n] with the unerased model's `base` [n] of the same prompts and seeds.

    Boolean rows are a rate: Wilson for one image per prompt, otherwise Wilson with the effective
    sample size of clustered images; other rows get a bootstrap over prompts. `n` is the number
    of images behind the rows if it is not the number of rows.
    """
    n, details = method.size if n is None else n, dict(details or {})
    value, baseline = prompt_mean(method, clusters), prompt_mean(base, clusters)
    rows = PairedSamples("mean", method, base, clusters)
    found = estimate([rows])
    if found is None:
        joined = "; ".join(filter(None, [note, ONE_PROMPT]))
        return MetricValue(value, None, None, n, baseline, None, joined, details, rows)
    low, high = found.value.low, found.value.high
    return MetricValue(value, low, high, n, baseline, found.difference, note, details, rows)


def ratio(method: Array, base: Array, clusters: Array) -> dict[str, float] | None:
    """Mean of `method` by mean of `base` with interval; None where the base has nothing to keep."""
    if np.unique(clusters).size < 2 or prompt_mean(base, clusters) <= 1e-9:
        return None
    return ends(intervals.ratio_of_means(method, base, clusters))


def ends(interval: intervals.Interval) -> dict[str, float]:
    """An interval as it goes into `details`."""
    return {name: asdict(interval)[name] for name in ("value", "low", "high")}


def dropped_note(pair: Pair) -> str:
    """Says that images were left out, if so."""
    return f"{pair.dropped} pictures without a counterpart left out" if pair.dropped else ""
