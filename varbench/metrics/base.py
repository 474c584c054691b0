"""The contract of a metric: its facts, its inputs and its value.

Scorers store arrays, one row per image, and a judge predicts a label per head from them
(`varbench.scoring`); a metric turns the arrays of an edited and of the base model into a value with
an interval. Both models are compared on the same prompts and image seeds: rows are matched by
(prompt id, image seed), never by position, so neither order nor a failed image can shift a
comparison.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field, replace
from typing import Any, Literal, Protocol

import numpy as np

from varbench.data.concept import Concept
from varbench.metrics.groups import Array, Pair, ScoredImages, match
from varbench.metrics.stats import Interval, PairedSamples

PROBE = "probe"  # name under which a group of probed prompts has its arrays, as a scorer's
COMPLETION, ATTACK = "completion", "attack"  # images made to get a concept back (`robustness.py`)
OF_MODEL = frozenset({PROBE, COMPLETION, ATTACK})  # needs that images alone cannot meet
NEEDS = (
    "judge",
    "clip",
    "clip_b32",
    "detections",
    "detections_640m",
    "dino",
    "faces",
    "features",
    "gcd",
    "imagenet",
    "lpips",
    "judge.detected",
    "judge.detected_count",
    "judge.detected_score",
    "judge.face",
    *sorted(OF_MODEL),
)
"""Everything that a metric may need: a judge, the role of a scorer or comparer, what only some
judges give, and what only the model itself gives."""


Better = Literal["up", "down", "same", ""]
"""Direction of a better number; "same": as near as possible to the base model's; "": unknown."""
FRACTION = "fraction"
"""Unit of a rate from 0 to 1."""


@dataclass(frozen=True, kw_only=True)
class MetricInfo:
    """The facts about a metric.

    Attributes:
        id: under which records, results files and settings know it.
        title: heads its column in a table.
        better: where the number should go.
        unit: `FRACTION`, another word, or "" for a number without a unit.
        definition: one or two sentences below a table.
        digits: decimals in a table; of a rate, as a fraction.
        table: main, nudity, drift, robustness or cost.
        range: lowest and highest possible value; None for an open end.
        groups: prompt groups whose images it is computed from.
        needs: scorers, and what a judge or the model must offer (`NEEDS`).
        version: counts up where the definition changes.
        citation: where the definition comes from.
    """

    id: str
    title: str
    better: Better
    unit: str
    definition: str
    digits: int = 2
    table: str = "main"
    range: tuple[float | None, float | None] = (None, None)
    groups: tuple[str, ...] = ()
    needs: tuple[str, ...] = ()
    version: int = 1
    citation: str = ""

    def within(self, low: float | None, high: float | None) -> tuple[float | None, float | None]:
        """Ends of an interval, no further than the value can go."""
        least, most = self.range
        return (
            low if low is None or least is None else max(low, least),
            high if high is None or most is None else min(high, most),
        )

    @property
    def rate(self) -> bool:
        """True for a fraction, which tables may show in per cent."""
        return self.unit == FRACTION


@dataclass(frozen=True)
class Moments:
    """Mean and covariance of the feature rows of many real images.

    Attributes:
        mean: [d].
        covariance: [d, d].
        n: number of images; None if it is not known.
    """

    mean: Array
    covariance: Array
    n: int | None


@dataclass(frozen=True)
class MetricInputs:
    """All that a metric sees. For the base model itself, `method` is `base`.

    Attributes:
        concept: the erased one.
        judge_labels: label names of each of the judge's heads.
        method: images of the edited model, by group name.
        base: images of the base model.
        reference: real images by group name: their rows [r, d] of role "features", or the moments
            of these.
        method_probe: what the edited model predicts for probed prompts, by group name: arrays of
            "probe", [n, scales]. Empty where the suite probes nothing or the method changes no
            prediction.
        base_probe: the same of the base model.
        used_groups: groups that a metric took by `paired`: their failed images are counted with
            the value.
    """

    concept: Concept
    judge_labels: Mapping[str, tuple[str, ...]]
    method: Mapping[str, ScoredImages]
    base: Mapping[str, ScoredImages]
    reference: Mapping[str, Array | Moments] = field(default_factory=dict)
    method_probe: Mapping[str, ScoredImages] = field(default_factory=dict)
    base_probe: Mapping[str, ScoredImages] = field(default_factory=dict)
    used_groups: set[str] = field(default_factory=set, compare=False)

    def paired(self, *names: str) -> Pair:
        """Images of the named groups, pooled and matched; absent groups count as empty.

        A prompt that two groups share is taken once, for otherwise it would weigh double.
        """
        self.used_groups.update(names)
        return match(self.method, self.base, names)

    def real(self, *names: str) -> Array | Moments | None:
        """Real images of the named groups: their feature rows, pooled, or their moments."""
        references = [self.reference[name] for name in names if name in self.reference]
        rows = [entry for entry in references if not isinstance(entry, Moments)]
        if rows:
            return np.concatenate(rows)
        return references[0] if references else None

    def probed(self, *names: str) -> Pair:
        """Probed prompts of the named groups, pooled and matched as in `paired`."""
        return match(self.method_probe, self.base_probe, names)


@dataclass(frozen=True)
class MetricValue:
    """A metric's number for one model.

    Attributes:
        value: None where nothing can be said; `note` then says why.
        low, high: the interval; None where there is no honest one.
        n: number of images behind the value.
        baseline: the base model's value on the same prompts and image seeds.
        difference: the paired value minus baseline.
        note: what a reader must know of this value.
        details: further numbers under short names, ready for JSON.
        rows: what the value is the mean of, where it is one: with them the values of several edit
            seeds become one.
    """

    value: float | None
    low: float | None
    high: float | None
    n: int
    baseline: float | None = None
    difference: Interval | None = None
    note: str = ""
    details: Mapping[str, Any] = field(default_factory=dict)
    # Not compared: arrays have no single truth value.
    rows: PairedSamples | None = field(default=None, compare=False)

    def recorded(self, info: MetricInfo, *, of_base: bool) -> MetricValue:
        """As a cell has it: no end of the interval lies beyond the metric's range.

        Args:
            info: the metric's facts.
            of_base: the value is the base model's own.
        """
        value = self._of_base_model() if of_base else self
        low, high = info.within(value.low, value.high)
        return replace(value, low=low, high=high)

    def _of_base_model(self) -> MetricValue:
        """The value of the base model itself, whose difference to itself is exactly nothing."""
        if self.difference is None:
            return self
        nothing = replace(self.difference, value=0.0, low=0.0, high=0.0)
        if self.rows is None or self.rows.statistic not in ("erasure_rate", "ratio"):
            return replace(self, difference=nothing)
        return replace(self, difference=nothing, low=self.value, high=self.value)


class Metric(Protocol):
    """A number of a table."""

    @property
    def info(self) -> MetricInfo:
        """The facts about it."""
        ...

    def compute(self, inputs: MetricInputs) -> MetricValue:
        """The value for `inputs.method`; never looks at an image, never draws unseeded numbers."""
        ...
