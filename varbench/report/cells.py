"""The cells of a store, and which of them to report."""

from __future__ import annotations

import logging
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from functools import cached_property
from pathlib import Path
from typing import Any, TypeVar

from varbench.errors import machine_failed
from varbench.methods.registry import NONE
from varbench.metrics.record import CELL_SCHEMA, MetricRecord
from varbench.metrics.stats import PairedSamples, read_rows
from varbench.report.cell_body import read_body
from varbench.report.cell_schema import problem_of
from varbench.report.settings import settings_id, settings_of
from varbench.store import INPUTS, Entry, Store, sequence_of

T = TypeVar("T")

log = logging.getLogger("varbench.report")


class ReportError(ValueError):
    """Nothing matches the request; the message names the fix."""


@dataclass(frozen=True)
class Filters:
    """Names of the cells to report; an empty tuple means all.

    The base model's cells are always reported: without them no other number can be read. Settings
    (`CellRecord.settings`) may be named by their first digits.
    """

    model: tuple[str, ...] = ()
    method: tuple[str, ...] = ()
    concept: tuple[str, ...] = ()
    suite: tuple[str, ...] = ()
    settings: tuple[str, ...] = ()


@dataclass(frozen=True)
class CellRecord:
    """One `cell.json`, with the fields that a report sorts by; `body` is all of it.

    Attributes:
        spec: of its entry: what it was computed from, with the versions of all scorers.
        contents: digests of the entries that it was computed from, by name.
        rows_file: of its paired samples; None for the stand-in of a published results file.
        store: that it is in; None for the stand-in of a published results file.
        turn: its sequence number, see `varbench.store.next_sequence`.
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
    spec: Mapping[str, Any] = field(default_factory=dict)
    contents: Mapping[str, str] = field(default_factory=dict)
    rows_file: Path | None = None
    store: Store | None = None
    turn: tuple[int, str] = (0, "")

    @property
    def identity(self) -> tuple[str, str, str, str, str, str, int]:
        """Equal for two measurements of the same thing; sorts cells, the base model first."""
        seed = -1 if self.seed is None else self.seed
        method = "" if self.method == NONE else self.method
        return (*self.panel, method, self.config, seed)

    @property
    def panel(self) -> tuple[str, str, str, str]:
        """Equal for cells that can be compared, which share a panel of a report."""
        return self.model, self.concept, self.suite, self.settings

    @cached_property
    def conditions(self) -> Mapping[str, Any]:
        """Everything that decided its numbers besides the method."""
        return settings_of(self.spec)

    @cached_property
    def settings(self) -> str:
        """First 8 hex digits of the hash of its conditions."""
        return settings_id(self.conditions)

    @property
    def images(self) -> Mapping[str, Sequence[Mapping[str, Any]]]:
        """Its images by prompt group, as ``cell.json`` has them."""
        return self.body.get("pictures") or {}

    @cached_property
    def samples(self) -> Mapping[str, PairedSamples]:
        """Its paired samples by metric."""
        if self.rows_file is None:
            return {}
        try:
            return read_rows(self.rows_file)
        except Exception as error:  # a crafted archive provokes a dozen kinds
            if machine_failed(error):
                raise
            raise ReportError(f"{self.rows_file}: holds no rows ({error}); run it again") from error

    @property
    def edit(self) -> Entry | None:
        """Its stored edit; None if it has none, or the store no longer."""
        key = self.body.get("edit")
        return self.store.find("edit", key, verify=False) if key and self.store else None

    @cached_property
    def costs(self) -> Mapping[str, float]:
        """Costs of its edit by metric id, from the manifests of what it was computed from.

        Those that the store does not record are absent. A method that changes sampling only has no
        edit: it costs no time before sampling, and changes no parameter.
        """
        if self.store is None or self.method == NONE:
            return {}
        if self.inputs:  # shorter than the list of images, which it is in the order of
            keys = (name.rpartition("/")[2] for name in self.inputs if name.startswith("pictures/"))
        else:
            keys = (image["key"] for images in self.images.values() for image in images)
        images = (
            self.store.find("pictures", key, verify=False) if (key := next(keys, None)) else None
        )
        costs = {"cost_passes": images.meta.get("extra_passes") if images else None}
        if "edit" in self.body and not self.body["edit"]:
            costs |= {"cost_seconds": 0.0, "cost_parameters": 0.0}
        elif (edit := self.edit) is not None:
            for name, unit in (("seconds", 1.0), ("memory", 1e9), ("parameters", 1e6)):
                value = edit.meta.get(name)
                costs[f"cost_{name}"] = None if value is None else value / unit
        return {metric: float(value) for metric, value in costs.items() if value is not None}

    @property
    def inputs(self) -> Sequence[str]:
        """The entries that it was computed from, "stage/key"."""
        return self.body.get("inputs") or ()

    def records(self) -> Iterator[MetricRecord]:
        """Its records, and its costs as records: numbers without an interval, of no image."""
        labels: dict[str, Any] = {"family": self.family, "embedded": self.embedded}
        labels |= {"machine": machine_of(self.body), "settings": self.settings}
        labels["conditions"] = self.conditions
        for stored in self.body.get("records", ()):
            yield MetricRecord.of_cell(stored, **labels)
        names = ("model", "method", "config", "concept", "suite", "seed")
        labels |= {name: getattr(self, name) for name in names} | {"prompt_set": self.suite}
        for metric, value in self.costs.items():
            yield MetricRecord(metric=metric, value=value, **labels).of_one_seed()


def read_cell(entry: Entry, store: Store) -> CellRecord:
    """A cell from its entry in the store, whose other entries tell its costs.

    Raises:
        ReportError: it was not written by varbench.
    """

    def check(body: object) -> None:
        if not _is_newer(body) and (problem := problem_of(body)) is not None:
            where = entry.path("cell.json")
            raise ReportError(f"{where}: not written by varbench ({problem}); remove its folder")

    body = read_body(entry, check)
    names = ("model", "method", "config", "concept", "family", "suite")
    texts: dict[str, Any] = {name: str(body.get(name) or "") for name in names}
    return CellRecord(
        entry.key,
        embedded=bool(body.get("embedded", False)),
        seed=body.get("seed"),
        body=body,
        spec=entry.spec,
        contents=entry.meta.get(INPUTS, {}),
        rows_file=entry.path("rows.npz") if "rows.npz" in entry.files else None,
        store=store,
        turn=sequence_of(entry),
        **texts,
    )


def _is_newer(body: object) -> bool:
    schema = body.get("schema") if isinstance(body, Mapping) else None
    return isinstance(schema, int) and schema > CELL_SCHEMA


def cells_of(store: Store, entries: Iterable[Entry]) -> list[CellRecord]:
    """The cells of these entries, each once, in the order of a report."""
    cells = {entry.key: read_cell(entry, store) for entry in entries}
    return sorted(cells.values(), key=lambda cell: cell.identity)


def load_cells(store: Store) -> list[CellRecord]:
    """All cells of a store, sorted.

    Where several measure the same thing with the same settings (the code of a method changed since)
    the one written last counts.
    """
    newest: dict[tuple[str, str, str, str, str, str, int], CellRecord] = {}
    for entry in store.entries("cell"):
        cell = read_cell(entry, store)
        if _is_newer(cell.body):
            log.warning("cell %s was written by a newer varbench; upgrade to see it", entry.key[:8])
            continue
        previous = newest.setdefault(cell.identity, cell)
        newest[cell.identity] = max(previous, cell, key=lambda one: one.turn)
    for stage, loss in (("cell", "rows"), ("edit", "costs")):
        for path in store.lost(stage):
            mend = "its command makes it again, or remove"
            log.warning("%s are missing: the %s was damaged; %s %s", loss, stage, mend, path)
    return [cell for _, cell in sorted(newest.items())]


def select(cells: Sequence[T], filters: Filters) -> list[T]:
    """The cells (or results files) that `filters` accept.

    Raises:
        ReportError: there are none, or a name is in no cell.
    """
    if not cells:
        raise ReportError("the store holds no results yet: run `varbench run`, or check --store")
    chosen = list(cells)
    for label, names in vars(filters).items():
        known = sorted({str(getattr(cell, label)) for cell in cells})
        same: Callable[[str, str], bool] = str.startswith if label == "settings" else str.__eq__
        for name in names:
            if not any(same(value, name) for value in known):
                raise ReportError(f"no results for {label} {name!r}; there are: {', '.join(known)}")
        accepted = (*names, NONE) if label == "method" else names
        if names:
            chosen = [c for c in chosen if any(same(getattr(c, label), n) for n in accepted)]
    if not chosen:
        raise ReportError("no cell matches all filters together: drop one of them")
    return chosen


def machine_of(body: Mapping[str, Any]) -> str:
    """Device and precision of a `cell.json`, as far as it names them: rounding depends on them."""
    device = (body.get("provenance") or {}).get("device")
    precision = ((body.get("resolved_config") or {}).get("model") or {}).get("precision")
    return ", ".join(str(part) for part in (device, precision) if part)
