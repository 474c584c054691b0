"""The table of an ablation: its variants in their order, with the paper's figures next to ours."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import replace
from typing import Any

from varbench.methods.registry import NONE
from varbench.metrics.record import MetricRecord
from varbench.report.cells import ReportError, read_cell
from varbench.report.columns import column
from varbench.report.records import records_of
from varbench.report.render import FORMS
from varbench.report.table import Header, Row, Table, TableCell
from varbench.report.tables import number_cell
from varbench.report.text import MISSING, visible
from varbench.store import Stage, Store, sequence_of


def load_all(store: Store) -> dict[str, dict[str, Any]]:
    """The ablations that were run, by name; of several runs the last one."""
    newest = {e.spec["name"]: e for e in sorted(store.entries(Stage.ABLATION), key=sequence_of)}
    return {name: entry.json("ablation.json") for name, entry in sorted(newest.items())}


def variant_records(store: Store, variant: Mapping[str, Any]) -> list[MetricRecord]:
    """The means over edit seeds of a variant and of the base model, by concept.

    Raises:
        ReportError: a cell of it is no longer in the store.
    """
    cells = []
    for key in variant["cells"]:
        entry = store.find("cell", key)
        if entry is None:
            raise ReportError(f"cell {key[:8]} of the ablation is gone: run the ablation again")
        cells.append(read_cell(entry, store))
    return [record for record in records_of(cells) if record.seed is None]


def table_of(store: Store, ablation: Mapping[str, Any]) -> Table:
    """One row per variant and tested concept, the base model's first.

    Raises:
        ReportError: a cell of the ablation is no longer in the store.
    """
    rows: dict[tuple[str, ...], Row] = {}
    for variant in ablation["variants"]:
        records = variant_records(store, variant)
        for concept in dict.fromkeys(record.concept for record in records):
            for base in (True, False):
                label = "base model" if base else str(variant["label"])
                by_metric = {
                    record.metric: record
                    for record in records
                    if record.concept == concept and (record.method == NONE) == base
                }
                figures = None if base else variant.get("reported")
                row = _row((concept, label), by_metric, ablation, figures)
                rows.setdefault((*row.labels, *(cell.plain() for cell in row.cells)), row)
    headers = [column(metric).header() for metric in ablation["metrics"]]
    notes = ["Brackets: 95 % interval over prompts."]
    if reported := ablation["reported"]:
        headers += [Header(f"{name} (reported)") for name in reported["columns"]]
        notes.append(f"Reported: {reported['source']}; {reported['note']}.")
    return Table(
        f"ablation-{ablation['name']}",
        str(ablation["title"]),
        ("concept", "variant"),
        tuple(headers),
        tuple(rows.values()),
        " ".join(notes),
        counted=False,
    )


def _row(
    labels: tuple[str, ...],
    by_metric: Mapping[str, MetricRecord],
    ablation: Mapping[str, Any],
    figures: list[str] | None,
) -> Row:
    cells = [number_cell(column(metric), by_metric.get(metric)) for metric in ablation["metrics"]]
    if reported := ablation["reported"]:
        figures = figures or [""] * len(reported["columns"])
        cells += [TableCell(figure or MISSING) for figure in figures]
    return Row(tuple(map(visible, labels)), tuple(cells))


def render(store: Store, name: str, form: str) -> str:
    """An ablation as a table for the terminal (``table``), ``md``, ``csv`` or ``latex``.

    Raises:
        ReportError: there is no such ablation.
    """
    ablations = load_all(store)
    if name not in ablations:
        known = f"there are: {', '.join(ablations)}" if ablations else "there is none"
        raise ReportError(f"no ablation {name!r} in the store ({known}): run it with --ablation")
    table = table_of(store, ablations[name])
    count = 1 if len({row.labels[0] for row in table.rows}) == 1 else 2
    rows = tuple(replace(row, labels=row.labels[::-1][:count]) for row in table.rows)
    return FORMS[form](replace(table, labels=("variant", "concept")[:count], rows=rows))
