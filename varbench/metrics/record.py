"""The record of one metric: what `cell.json`, reports and `load_results` hold of one number.

The pipeline makes a record of each value that a metric returns, a cell stores it, reports and
published results read it back. Needs no numpy and no pandas of its own.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field, fields, replace
from typing import Any

from varbench.metrics.base import MetricValue

CELL_SCHEMA = 1
"""Version of `cell.json`; reports skip cells of a later one."""
_ENDS = ("value", "low", "high")


@dataclass(frozen=True, kw_only=True)
class MetricRecord:
    """One number of one model, method, concept and suite.

    The fields up to `status` are a record of `cell.json`, those up to `machine` a row of
    `load_results`, both in this order. Missing numbers are None.

    Attributes:
        method: "none" for the base model.
        config: first 8 hex digits of the hash of the resolved method settings.
        seed: the edit seed; None for the mean over edit seeds, and where no edit was made.
        ci_low, ci_high: ends of the 95 % interval; None where there is no honest one.
        n: images (or prompts) that the value is of; of a mean, those of its smallest edit.
        n_failed: images that failed and are missing from it; of a mean, the most of an edit.
        baseline: the base model's value on the same prompts and image seeds.
        status: "measured", or why the number is none of ours.
        diff_value, diff_low, diff_high: paired difference to the base model, with its interval.
        seeds: edit seeds with a value.
        seed_min, seed_max: the lowest and the highest seed's value.
        edit_df: degrees of freedom of the variance between edits in a mean's interval; None where
            that speaks of the edits at hand only.
        settings: first 8 hex digits of the hash of everything that decided the number besides the
            method: suite, model, concept, versions. Only equal ones compare.
        machine: device and precision, as far as rounding depends on them.
        note: the metric's remark, such as why there is no value.
        details: further numbers of the metric under short names.
        conditions: what `settings` is the hash of.
    """

    model: str
    method: str
    config: str
    concept: str
    suite: str
    prompt_set: str
    metric: str
    seed: int | None
    value: float | None
    ci_low: float | None = None
    ci_high: float | None = None
    n: int | None = None
    n_failed: int | None = None
    baseline: float | None = None
    status: str = "measured"
    diff_value: float | None = None
    diff_low: float | None = None
    diff_high: float | None = None
    seeds: int | None = None
    seed_min: float | None = None
    seed_max: float | None = None
    edit_df: int | None = None
    family: str = ""
    embedded: bool = False
    settings: str = ""
    machine: str = ""
    note: str = ""
    details: Mapping[str, Any] = field(default_factory=dict)
    conditions: Mapping[str, Any] = field(default_factory=dict)

    @classmethod
    def of_value(cls, value: MetricValue, n_failed: int, **labels: Any) -> MetricRecord:
        """The record of a value that a metric returned; `labels` are the fields up to `seed`."""
        return cls(
            n=value.n,
            n_failed=n_failed,
            note=value.note,
            details=value.details,
            **_numbers(value),
            **labels,
        )

    def with_numbers(self, value: MetricValue) -> MetricRecord:
        """The record of one seed with the value, intervals and baseline that were computed anew."""
        return replace(self, **_numbers(value)).of_one_seed()

    @classmethod
    def of_cell(cls, stored: Mapping[str, Any], **labels: Any) -> MetricRecord:
        """A record as `cell.json` has it; `labels` are the fields that it leaves to the cell."""
        difference = stored.get("difference") or {}
        numbers: dict[str, Any] = {name: stored.get(name) for name in RECORD_FIELDS}
        numbers |= {f"diff_{end}": difference.get(end) for end in _ENDS}
        numbers |= {"note": stored.get("note", ""), "details": stored.get("details") or {}}
        return cls(**numbers, **_of_one_seed(numbers["seed"], numbers["value"]), **labels)

    def of_one_seed(self) -> MetricRecord:
        """The same record with its own value as the lowest and the highest seed's."""
        return replace(self, **_of_one_seed(self.seed, self.value))

    def for_cell(self) -> dict[str, Any]:
        """The record as `cell.json` stores it; what all records of a cell share is left out."""
        difference = {end: getattr(self, f"diff_{end}") for end in _ENDS}
        return {name: getattr(self, name) for name in RECORD_FIELDS} | {
            "difference": None if self.diff_value is None else difference,
            "note": self.note,
            "details": dict(self.details),
        }


def _of_one_seed(seed: int | None, value: float | None) -> dict[str, Any]:
    return {"seeds": None if seed is None else 1, "seed_min": value, "seed_max": value}


def _numbers(value: MetricValue) -> dict[str, Any]:
    """A value with its intervals, under the names of a record's fields."""
    by = value.difference
    return {
        "value": value.value,
        "ci_low": value.low,
        "ci_high": value.high,
        "baseline": value.baseline,
        **{f"diff_{end}": None if by is None else getattr(by, end) for end in _ENDS},
    }


_NAMES = tuple(entry.name for entry in fields(MetricRecord))
RECORD_FIELDS = _NAMES[: _NAMES.index("status") + 1]
"""A record as `cell.json` stores it."""
REPORT_FIELDS = (*RECORD_FIELDS, "settings")
"""A record of `report --format json`."""
FRAME_FIELDS = _NAMES[: _NAMES.index("machine") + 1]
"""A row of `load_results` and of `report --format csv`."""
