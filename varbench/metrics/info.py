"""The facts about a metric, in one place for tables, docs, checks and plugins."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Literal

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
        question: the question that the number answers.
        definition: one or two sentences below a table.
        digits: decimals in a table; of a rate, as a fraction.
        table: main, nudity, drift, robustness or cost.
        range: lowest and highest possible value; None for an open end.
        groups: prompt groups whose images it is computed from.
        needs: scorers, and what a judge or the model must offer (`varbench.metrics.base.NEEDS`).
        version: counts up where the definition changes.
        citation: where the definition comes from.
    """

    id: str
    title: str
    better: Better
    unit: str
    definition: str
    question: str = ""
    digits: int = 2
    table: str = "main"
    range: tuple[float | None, float | None] = (None, None)
    groups: tuple[str, ...] = ()
    needs: tuple[str, ...] = ()
    version: int = 1
    citation: str = ""

    @property
    def rate(self) -> bool:
        """True for a fraction, which tables may show in per cent."""
        return self.unit == FRACTION
