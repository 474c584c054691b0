"""From the cells in a store to one table of records, one row per number.

Every cell (one model, method, concept, suite and edit seed) carries its records; here they are put
into one DataFrame, with what the edit cost (`costs`), and rows with `seed` null are added, the
mean over edit seeds.

Value, interval and difference of such a mean come from the rows that the cells keep
(`varbench.metrics.stats.paired_samples`): the seeds' images together, resampled by prompt.
Numbers that are no mean over
images have none: their mean is that of the seeds, and its ends are the means of the seeds' ends
(a mean never varies more than its parts do on average, so this is not too narrow), or absent.
`seed_min` and `seed_max` are the lowest and the highest seed's value.
"""

from __future__ import annotations

import logging
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from functools import cache
from pathlib import Path
from typing import Any, Protocol, TypeVar

import pandas as pd

from varbench.metrics.stats.paired_samples import Estimate, PairedSamples, estimate, read_rows
from varbench.report.costs import costs_of
from varbench.store import Entry, Store
from varbench.store.sequence import sequence_of

CELL_SCHEMA = 1
BASE = "none"  # the unerased model

# A record as other programs read it (`report --format json`); the order is part of the format.
RECORD_FIELDS = (
    "model", "method", "config", "concept", "suite", "prompt_set", "metric", "seed", "value",
    "ci_low", "ci_high", "n", "n_failed", "baseline", "status",
)  # fmt: skip
# What a row of the DataFrame (and of the CSV) has besides.
EXTRA_FIELDS = (
    "diff_value", "diff_low", "diff_high", "seeds", "seed_min", "seed_max", "family", "embedded",
    "machine",
)  # fmt: skip
_SAME = ["model", "method", "config", "concept", "suite", "prompt_set", "metric"]
_DTYPES = {
    **{name: "Int64" for name in ("seed", "n", "n_failed", "seeds")},
    **{name: "float64" for name in ("value", "ci_low", "ci_high", "baseline")},
    **{name: "float64" for name in ("diff_value", "diff_low", "diff_high", "seed_min", "seed_max")},
    "embedded": "bool",
}
_STATUSES = ("measured", "reported", "superseded", "flagged")  # the worst one speaks for a mean

log = logging.getLogger("varbench.report")


class ReportError(ValueError):
    """There is nothing to report as asked; the message names the fix."""


class Filed(Protocol):
    """What results are filed under."""

    @property
    def model(self) -> str: ...
    @property
    def method(self) -> str: ...
    @property
    def concept(self) -> str: ...
    @property
    def suite(self) -> str: ...


AnyFiled = TypeVar("AnyFiled", bound=Filed)


@dataclass(frozen=True)
class Filters:
    """Which cells to report; an empty tuple means all. The unerased model is always kept: without
    it the other numbers cannot be read."""

    model: tuple[str, ...] = ()
    method: tuple[str, ...] = ()
    concept: tuple[str, ...] = ()
    suite: tuple[str, ...] = ()

    def accept(self, cell: Filed) -> bool:
        """Whether `cell` is to be reported."""
        return (
            (not self.model or cell.model in self.model)
            and (not self.method or cell.method in (*self.method, BASE))
            and (not self.concept or cell.concept in self.concept)
            and (not self.suite or cell.suite in self.suite)
        )


@dataclass(frozen=True)
class Cell:
    """One `cell.json`, with the fields that a report sorts by; `body` is all of it.

    What stands for a published results file has neither rows nor images.
    """

    key: str
    model: str
    embedded: bool
    method: str
    config: str
    concept: str
    family: str
    suite: str
    seed: int | None
    body: Mapping[str, Any]
    rows_file: Path | None
    costs: Mapping[str, float]
    turn: tuple[int, str] = (0, "")
    """When it was written, see `varbench.store.sequence`."""

    @property
    def identity(self) -> tuple[str, str, str, str, str, int]:
        """What makes two cells two measurements of the same thing; sorts, the base first."""
        seed = -1 if self.seed is None else self.seed
        method = "" if self.method == BASE else self.method
        return (self.model, self.concept, self.suite, method, self.config, seed)


def read_cell(entry: Entry, store: Store) -> Cell:
    """A cell from its entry in the store, with its costs from other entries there."""
    body = entry.json("cell.json")
    names = ("model", "method", "config", "concept", "family", "suite")
    texts = {name: str(body.get(name) or "") for name in names}
    return Cell(
        entry.key,
        embedded=bool(body.get("embedded", False)),
        seed=body.get("seed"),
        body=body,
        rows_file=entry.path("rows.npz"),
        costs={} if texts["method"] == BASE else costs_of(store, body),
        turn=sequence_of(entry),
        **texts,
    )


def load_cells(store: Store) -> list[Cell]:
    """All cells of a store, sorted. Where several measure the same thing (a prompt set, the
    weights or a metric changed since) the one written last counts."""
    newest: dict[tuple[str, str, str, str, str, int], Cell] = {}
    for entry in store.entries("cell"):
        cell = read_cell(entry, store)
        if cell.body.get("schema", CELL_SCHEMA) > CELL_SCHEMA:
            log.warning("cell %s was written by a newer varbench; upgrade to see it", entry.key[:8])
            continue
        rival = newest.setdefault(cell.identity, cell)
        newest[cell.identity] = max(rival, cell, key=lambda one: one.turn)
    return [cell for _, cell in sorted(newest.items())]


def select(cells: Sequence[AnyFiled], filters: Filters) -> list[AnyFiled]:
    """The cells that `filters` accept.

    Raises:
        ReportError: if there are none, or if a name that is asked for is in no cell.
    """
    if not cells:
        raise ReportError("the store holds no results yet: run `varbench run`, or check --store")
    for field in ("model", "method", "concept", "suite"):
        there = sorted({str(getattr(cell, field)) for cell in cells})
        for name in getattr(filters, field):
            if name not in there:
                raise ReportError(f"no results for {field} {name!r}; there are: {', '.join(there)}")
    chosen = [cell for cell in cells if filters.accept(cell)]
    if not chosen:
        raise ReportError("no cell matches all filters together: drop one of them")
    return chosen


def build_records(cells: Sequence[Cell]) -> pd.DataFrame:
    """All records of `cells`, per-seed rows and the rows with `seed` null, as one DataFrame.

    Columns: `RECORD_FIELDS` and `EXTRA_FIELDS`; missing numbers are NaN or NA.
    """
    rows, owners = [], []
    for cell in cells:
        for record in (*cell.body.get("records", ()), *_cost_records(cell)):
            owners.append(cell)
            difference = record.get("difference") or {}
            value, seed = record.get("value"), record.get("seed")
            rows.append(
                {name: record.get(name) for name in RECORD_FIELDS}
                | {f"diff_{end}": difference.get(end) for end in ("value", "low", "high")}
                | {"seeds": record.get("seeds", None if seed is None else 1)}
                | {end: record.get(end, value) for end in ("seed_min", "seed_max")}
                | {"family": cell.family, "embedded": cell.embedded}
                | {"machine": machine_of(cell.body)}
            )
    frame = typed(rows)
    kept = cache(_rows)
    means = [
        _mean(group, [kept(owners[i].rows_file) for i in group.index])
        for _, group in frame.groupby(_SAME, sort=False, dropna=False)
        if not group["seed"].isna().any()  # else the cell was not made by an edit, and has no seed
    ]
    frame = typed(rows + means)
    # The mean comes first, then the seeds it is made of; the rest stays in order of the cells.
    place = frame.groupby(_SAME, sort=False, dropna=False).ngroup()
    order = pd.DataFrame({"place": place, "seed": frame["seed"].fillna(-1)})
    order = order.sort_values(["place", "seed"], kind="stable")
    return frame.loc[order.index].reset_index(drop=True)


def machine_of(body: Mapping[str, Any]) -> str:
    """What computed a cell, as far as rounding depends on it: device, and precision if told."""
    device = (body.get("provenance") or {}).get("device")
    precision = ((body.get("resolved_config") or {}).get("model") or {}).get("precision")
    return ", ".join(str(part) for part in (device, precision) if part)


def _cost_records(cell: Cell) -> list[dict[str, Any]]:
    """Costs as records: numbers without an interval, measured on no image."""
    names = ("model", "method", "config", "concept", "suite", "seed")
    same = {name: getattr(cell, name) for name in names}
    same |= {"prompt_set": cell.suite, "status": "measured"}
    return [same | {"metric": metric, "value": cost} for metric, cost in cell.costs.items()]


def load_records(store: Store, filters: Filters | None = None) -> pd.DataFrame:
    """`build_records` of the cells of `store` that `filters` accept. Raises ReportError."""
    return build_records(select(load_cells(store), filters or Filters()))


def only_metrics(records: pd.DataFrame, metrics: Sequence[str]) -> pd.DataFrame:
    """The rows of some metrics. Raises ReportError for one that no cell has."""
    there = set(records["metric"])
    for name in metrics:
        if name not in there:
            raise ReportError(
                f"no results for metric {name!r}; there are: {', '.join(sorted(there))}"
            )
    return records[records["metric"].isin(metrics)]


def means(records: pd.DataFrame) -> pd.DataFrame:
    """The rows that tables show: the means over edit seeds (`seed` null)."""
    return records[records["seed"].isna()]


def plain(records: pd.DataFrame) -> list[dict[str, Any]]:
    """Records as JSON values with exactly `RECORD_FIELDS`; missing numbers are None."""
    rows = records[list(RECORD_FIELDS)].to_dict("records")
    return [{str(k): None if pd.isna(v) else v for k, v in row.items()} for row in rows]


def typed(rows: Sequence[Mapping[str, Any]]) -> pd.DataFrame:
    """Rows as a DataFrame with the columns and types of `build_records`."""
    return pd.DataFrame(rows, columns=[*RECORD_FIELDS, *EXTRA_FIELDS]).astype(_DTYPES)


def _rows(path: Path | None) -> dict[str, PairedSamples]:
    return {} if path is None else read_rows(path)


def _mean(group: pd.DataFrame, rows: Sequence[Mapping[str, PairedSamples]]) -> dict[str, Any]:
    """The record with `seed` null of one number's seeds; `rows[i]` are those of the i-th seed."""
    row: dict[str, Any] = group.iloc[0].to_dict()
    row["seed"] = None
    there = group["value"].notna().to_numpy()  # a null value says that nothing could be measured
    measured = group[there]
    for name in ("value", "baseline", "diff_value"):
        row[name] = measured[name].mean()
    for name in ("ci_low", "ci_high", "diff_low", "diff_high"):
        row[name] = measured[name].mean(skipna=False)  # an end that is missing leaves no interval
    own = [by_metric.get(row["metric"]) for by_metric, yes in zip(rows, there, strict=True) if yes]
    if len(own) > 1 and (found := _pooled(own)) is not None:
        row |= {"value": found.value.value, "ci_low": found.value.low, "ci_high": found.value.high}
        row |= {f"diff_{end}": getattr(found.difference, end) for end in ("value", "low", "high")}
    for name in ("n", "n_failed"):
        row[name] = group[name].sum(min_count=1)
    row["seeds"] = len(measured)
    row["seed_min"], row["seed_max"] = measured["value"].min(), measured["value"].max()
    row["status"] = max(group["status"], key=_rank)
    row["machine"] = "; ".join(sorted(set(group["machine"])))
    return row


def _pooled(own: Sequence[PairedSamples | None]) -> Estimate | None:
    rows = [one for one in own if one is not None]
    return estimate(rows) if len(rows) == len(own) else None


def _rank(status: str) -> int:
    return _STATUSES.index(status) if status in _STATUSES else len(_STATUSES)
