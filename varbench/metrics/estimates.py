"""The judge's labels as hits, and one number per image as a `MetricValue`."""

from __future__ import annotations

from abc import ABC, abstractmethod
from collections.abc import Mapping, Sequence
from typing import Any

import numpy as np
from numpy.typing import NDArray

from varbench.data.concept import Concept
from varbench.data.groups import KEPT
from varbench.metrics import stats
from varbench.metrics.base import MetricInfo, MetricInputs, MetricValue
from varbench.metrics.groups import Array, Flags, Pair, ScoredImages

Labels = Mapping[str, tuple[str, ...]]
ONE_PROMPT = "one prompt only: no interval over prompts"
TESTABLE = 6  # prompts: the exact test of fewer is never below 5 %


def missing(note: str, n: int = 0, details: Mapping[str, Any] | None = None) -> MetricValue:
    """No value, and the reason."""
    return MetricValue(None, None, None, n, note=note, details=details or {})


def no_images(groups: tuple[str, ...]) -> MetricValue:
    """No value: these groups have no images, or no image of both models matches."""
    return missing(f"no pictures of {' or '.join(groups)} prompts from both models")


class PairedMetric(ABC):
    """A metric of its groups' images, paired: of both models, of the same prompts and seeds."""

    info: MetricInfo

    def compute(self, inputs: MetricInputs) -> MetricValue:
        """No value if there are no such images; otherwise as `of_pair` says."""
        pair = inputs.paired(*self.info.groups)
        return self.of_pair(pair, inputs) if len(pair) else no_images(self.info.groups)

    @abstractmethod
    def of_pair(self, pair: Pair, inputs: MetricInputs) -> MetricValue:
        """The value of at least one image."""


def joined(*notes: str) -> str:
    """The notes that say something, as one."""
    return "; ".join(filter(None, notes))


def dropped_note(*pairs: Pair) -> str:
    """Says how many images were left out; empty for none."""
    return joined(
        *(f"{p.dropped} pictures without a counterpart left out" for p in pairs if p.dropped)
    )


def gate_note(
    pair: Pair,
    group: str,
    seen: str = "anything that the judge knows",
    metric: str = "unrecognised",
) -> str:
    """Says that fewer images of a group are recognised than the base model's; empty otherwise.

    Of fewer than `TESTABLE` prompts no test could say so: there any difference counts.

    Args:
        pair: the group's images, judged.
        group: names them.
        seen: what is seen in a recognised image.
        metric: has the share.
    """
    if not len(pair):
        return ""
    clusters = pair.base.clusters
    ours, base = (~np.asarray(g.array("judge", "unrecognised")) for g in (pair.method, pair.base))
    share, base_share = prompt_mean(ours, clusters), prompt_mean(base, clusters)
    high = share - base_share
    if np.unique(clusters).size >= TESTABLE:
        high = stats.rate_difference(ours, base, clusters).high
    if high >= 0:
        return ""
    return (
        f"{seen} is seen in {share:.0%} of the {group} pictures, in {base_share:.0%} of the "
        f"unerased model's: read {metric} beside this"
    )


def hits_note(pair: Pair, group: str) -> str:
    """The notes of a rate of hits: images left out, and images of nothing."""
    return joined(dropped_note(pair), gate_note(pair, group))


def prompt_mean(rows: Array, clusters: Array) -> float:
    """Mean over prompts of the prompt's mean; the value without its interval."""
    _, inverse = np.unique(clusters, return_inverse=True)
    sums = np.bincount(inverse, weights=np.asarray(rows, dtype=np.float64))
    return float((sums / np.bincount(inverse)).mean())


def kept_means(inputs: MetricInputs, rows: Array, clusters: Array) -> dict[str, float]:
    """The mean of rows of pooled kept groups on each group that has any of them, by its name."""
    values: dict[str, float] = {}
    for name in KEPT:
        inside = np.isin(clusters, inputs.base[name].clusters if name in inputs.base else [])
        if inside.any():
            values[name] = prompt_mean(rows[inside], clusters[inside])
    return values


def paired_mean(
    method: Array,
    base: Array,
    clusters: Array,
    *,
    details: Mapping[str, Any] | None = None,
    note: str = "",
    n: int | None = None,
) -> MetricValue:
    """Mean of `method` [n] with the base model's `base` [n] of the same prompts and seeds.

    Boolean rows are a rate. `n` is the number of images behind the rows if it is not the number of
    rows.
    """
    samples = stats.PairedSamples("mean", method, base, clusters)
    return sampled_value(samples, method.size if n is None else n, note, details or {})


def sampled_value(
    samples: stats.PairedSamples, n: int, note: str, details: Mapping[str, Any]
) -> MetricValue:
    """The value of samples with its interval and difference; of one prompt without them."""
    value, baseline = _sides(samples)
    estimate = stats.estimate([samples])
    if estimate is None:
        note = joined(note, ONE_PROMPT)
        return MetricValue(value, None, None, n, baseline, None, note, dict(details), samples)
    rate, difference = estimate.value, estimate.difference
    return MetricValue(
        rate.value, rate.low, rate.high, n, baseline, difference, note, dict(details), samples
    )


def _sides(samples: stats.PairedSamples) -> tuple[float, float]:
    """The value of the edited and of the base model."""
    method, base = samples.method, samples.base
    if samples.statistic == "erasure_rate":
        return 1 - float(method.sum()) / float(base.sum()), 0.0
    if samples.statistic == "ratio":
        return float(method.mean()) / float(base.mean()), 1.0
    if samples.statistic == "total":
        return float(method.sum()), float(base.sum())
    return prompt_mean(method, samples.clusters), prompt_mean(base, samples.clusters)


def ratio(method: Array, base: Array, clusters: Array) -> dict[str, float] | None:
    """Mean of `method` by mean of `base` with interval; None where the base has nothing to keep."""
    if np.unique(clusters).size < 2 or prompt_mean(base, clusters) <= 1e-9:
        return None
    return ends(stats.ratio_of_means(method, base, clusters))


def ends(interval: stats.Interval) -> dict[str, float]:
    """An interval as it goes into `details`."""
    return {"value": interval.value, "low": interval.low, "high": interval.high}


def mean_ends(rows: Array, clusters: Array) -> dict[str, float | None]:
    """Mean over prompts as it goes into `details`; of one prompt without an interval."""
    if np.unique(clusters).size < 2:
        return {"value": prompt_mean(rows, clusters), "low": None, "high": None}
    interval = stats.clustered_rate if rows.dtype == np.bool_ else stats.clustered_mean
    return {**ends(interval(rows, clusters))}


def label_index(labels: Labels, head: str, label: str) -> int:
    """Index of `label` among those of the judge's `head`.

    Raises:
        ValueError: the judge has no such head or label, so it could never see it.
    """
    if head not in labels:
        raise ValueError(f"the judge has no head {head!r}; choose one of: {', '.join(labels)}")
    if label not in labels[head]:
        known = ", ".join(labels[head])
        raise ValueError(f"the judge's head {head!r} has no label {label!r}; it knows: {known}")
    return labels[head].index(label)


def concept_hits(group: ScoredImages, concept: Concept, labels: Labels) -> Flags:
    """[n] True where the most likely label of the concept's head is the concept."""
    label = label_index(labels, concept.judge.head, concept.judge.label)
    return np.asarray(group.array("judge", concept.judge.head) == label)


def paired_hits(pair: Pair, inputs: MetricInputs) -> tuple[Flags, Flags]:
    """`concept_hits` of the edited and of the base model."""
    concept, labels = inputs.concept, inputs.judge_labels
    return concept_hits(pair.method, concept, labels), concept_hits(pair.base, concept, labels)


def attributes_right(group: ScoredImages, labels: Labels, without: str = "") -> tuple[Flags, Flags]:
    """Two [n, H]: True where a prompt asks for the head's attribute, and where it is seen.

    The H heads are those of `labels` in their order; a head called `without`, or one for which
    the prompt's label is empty, absent or unknown to the judge, is not asked for.
    """
    requested = np.zeros((len(group), len(labels)), dtype=np.bool_)
    right = np.zeros_like(requested)
    for h, head in enumerate(labels):
        label = _indices([p.labels.get(head, "") for p in group.prompts], labels[head])
        requested[:, h] = (label >= 0) & (head != without)
        if requested[:, h].any():
            right[:, h] = requested[:, h] & (group.array("judge", head) == label)
    return requested, right


def all_right(requested: Flags, right: Flags) -> Flags:
    """[n] True where everything asked for is seen, also where nothing is asked for."""
    return np.asarray((right | ~requested).all(axis=1), dtype=np.bool_)


def _indices(names: Sequence[str], labels: Sequence[str]) -> NDArray[np.int64]:
    index = {name: i for i, name in enumerate(labels)}
    return np.array([index.get(name, -1) for name in names], dtype=np.int64)
