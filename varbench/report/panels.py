"""A panel: the results of one model on one concept and suite, arranged as a table.

Every renderer (terminal, Markdown, LaTeX, page, plot) draws from panels, so that they agree.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from typing import Any

import pandas as pd

from varbench.report.columns import ORDER, Column, column
from varbench.report.records import BASE, means
from varbench.report.text import MISSING, count


@dataclass(frozen=True)
class Value:
    """One number with all that is known of it; `difference` is value, low, high against none."""

    value: float | None
    low: float | None
    high: float | None
    n: int | None
    n_failed: int
    baseline: float | None
    status: str
    difference: tuple[float, float | None, float | None] | None
    seeds: int | None
    seed_min: float | None
    seed_max: float | None


@dataclass(frozen=True)
class Row:
    """One method (one resolved config of it) and its values by column key."""

    method: str
    config: str
    label: str  # the method, with its config where several configs of it are in the panel
    values: Mapping[str, Value]

    def n(self, columns: Iterable[Column]) -> str:
        """Images behind the numbers in `columns`: "400", or "200–400" where metrics differ."""
        values = [self.values[c.key] for c in columns if c.key in self.values]
        known = sorted({v.n for v in values if v.n})  # 0: there was nothing to measure
        failed = max((v.n_failed for v in values), default=0)
        text = MISSING.join(count(n) for n in dict.fromkeys(known[:1] + known[-1:])) or MISSING
        return f"{text} ({count(failed)} failed)" if failed else text


@dataclass(frozen=True)
class Panel:
    """All results of one (model, concept, suite), the unerased model's row first."""

    model: str
    concept: str
    suite: str
    family: str
    embedded: bool
    columns: tuple[Column, ...]  # the built-in ones in fixed order, then others by id
    rows: tuple[Row, ...]
    note: str = ""  # where the rows were not all computed alike

    def of(self, *tables: str) -> tuple[Column, ...]:
        """The columns of some tables that at least one row has a value for."""
        there = {k for row in self.rows for k, v in row.values.items() if v.value is not None}
        return tuple(c for c in self.columns if c.table in tables and c.key in there)

    @property
    def title(self) -> str:
        """Names the panel in one line."""
        return f"{self.concept} · {self.model} · {self.suite}"


def build_panels(records: pd.DataFrame) -> list[Panel]:
    """The panels of `records` (see `records.build_records`), sorted by model, concept, suite."""
    rows = means(records)
    panels = []
    for (model, concept, suite), group in rows.groupby(["model", "concept", "suite"]):
        columns, keys = _columns(group)
        first = group.iloc[0]
        panels.append(
            Panel(
                model=str(model),
                concept=str(concept),
                suite=str(suite),
                family=str(first["family"]),
                embedded=bool(first["embedded"]),
                columns=columns,
                rows=_rows(group, keys),
                note=_machines(group),
            )
        )
    return panels


def _machines(group: pd.DataFrame) -> str:
    """Which devices and precisions rows were computed with; empty where it was one for all."""
    by_machine: dict[str, list[str]] = {}
    for method, machines in group.groupby("method")["machine"].unique().items():
        for machine in sorted({_name(one) for one in machines} - {""}):
            by_machine.setdefault(machine, []).append(str(method))
    if len(by_machine) < 2:
        return ""
    parts = [f"{', '.join(methods)} on {machine}" for machine, methods in by_machine.items()]
    return f"Not all was computed alike, so small differences may be rounding: {'; '.join(parts)}."


def _columns(group: pd.DataFrame) -> tuple[tuple[Column, ...], dict[tuple[str, str], str]]:
    """The columns of a panel, and the column key of each (metric, prompt set) in it."""
    sets: dict[str, list[str]] = {}
    for metric, prompt_set in zip(group["metric"], group["prompt_set"].map(_name), strict=True):
        there = sets.setdefault(str(metric), [])
        if prompt_set not in there:
            there.append(prompt_set)
    columns: list[Column] = []
    keys: dict[tuple[str, str], str] = {}
    for metric in (*ORDER, *sorted(set(sets) - set(ORDER))):
        there = sets.get(metric, [])
        # Rates on two prompt sets are two numbers, never to be mixed: a column each.
        for prompt_set in sorted(there) if len(there) > 1 else [None]:
            made = column(metric, prompt_set)
            columns.append(made)
            keys |= {(metric, name): made.key for name in there if prompt_set in (None, name)}
    return tuple(columns), keys


def _rows(group: pd.DataFrame, keys: Mapping[tuple[str, str], str]) -> tuple[Row, ...]:
    configs = group.groupby("method")["config"].nunique(dropna=False)
    rows = []
    for (method, config), part in group.groupby(["method", "config"], dropna=False):
        values = {
            keys[str(record["metric"]), _name(record["prompt_set"])]: _value(record)
            for record in part.to_dict("records")
        }
        name, short = str(method), _name(config)
        label = f"{name} ({short})" if configs[method] > 1 else name
        rows.append(Row(name, short, label, values))
    return tuple(sorted(rows, key=lambda row: (row.method != BASE, row.method, row.config)))


def _value(record: Mapping[Any, Any]) -> Value:
    difference = None
    if (by := _real(record["diff_value"])) is not None:
        difference = (by, _real(record["diff_low"]), _real(record["diff_high"]))
    return Value(
        value=_real(record["value"]),
        low=_real(record["ci_low"]),
        high=_real(record["ci_high"]),
        n=_whole(record["n"]),
        n_failed=_whole(record["n_failed"]) or 0,
        baseline=_real(record["baseline"]),
        status=_name(record["status"]) or "measured",
        difference=difference,
        seeds=_whole(record["seeds"]),
        seed_min=_real(record["seed_min"]),
        seed_max=_real(record["seed_max"]),
    )


def _name(value: Any) -> str:
    return "" if pd.isna(value) else str(value)


def _real(value: Any) -> float | None:
    return None if pd.isna(value) else float(value)


def _whole(value: Any) -> int | None:
    return None if pd.isna(value) else int(value)
