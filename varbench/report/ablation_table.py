"""The table of an ablation: its variants in their order, with the paper's figures next to ours."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from typing import Any

from varbench.methods.registry import NONE
from varbench.metrics.record import MetricRecord
from varbench.report.cells import ReportError, read_cell
from varbench.report.columns import column
from varbench.report.records import records_of
from varbench.report.render import FORMS
from varbench.report.settings import differences, settings_id, settings_of
from varbench.report.table import Header, Row, Table, TableCell
from varbench.report.tables import number_cell
from varbench.report.text import MISSING, interval_note, visible
from varbench.store import Entry, Stage, Store, digest, sequence_of


@dataclass(frozen=True)
class AblationRun:
    """An ablation as it was run.

    Attributes:
        content: the ablation, with the keys of each variant's cells.
        conditions: those of its cells, each once (`varbench.report.settings`).
        differs: them against those of other runs of the same ablation; "" if there are none.
    """

    content: Mapping[str, Any]
    conditions: Sequence[Mapping[str, Any]]
    differs: str = ""

    @property
    def settings(self) -> str:
        """First 8 hex digits of the hash of its conditions."""
        return digest(sorted(map(settings_id, self.conditions)))[:8]

    @property
    def name(self) -> str:
        """The ablation's name, with the settings where there are several."""
        name = str(self.content["name"])
        return f"{name}-{self.settings}" if self.differs else name


def read_run(store: Store, entry: Entry) -> AblationRun:
    """The run of an ablation from its entry in the store."""
    content = entry.json("ablation.json")
    keys = [key for variant in content["variants"] for key in variant["cells"]]
    cells = [store.find(Stage.CELL, key, verify=False) for key in keys]
    specs = [settings_of(cell.spec) for cell in cells if cell is not None]
    return AblationRun(content, [one for i, one in enumerate(specs) if one not in specs[:i]])


def load_all(store: Store) -> list[AblationRun]:
    """The ablations that were run, by name; of several runs with the same settings the last one."""
    newest: dict[str, dict[str, AblationRun]] = {}
    for entry in sorted(store.entries(Stage.ABLATION), key=sequence_of):
        run = read_run(store, entry)
        newest.setdefault(run.content["name"], {})[run.settings] = run
    return [
        replace(run, differs=_differences(run, [other for other in runs if other is not run]))
        for _, runs in sorted((name, list(by.values())) for name, by in newest.items())
        for run in sorted(runs, key=lambda run: run.settings)
    ]


def _differences(run: AblationRun, others: Sequence[AblationRun]) -> str:
    theirs = [one for other in others for one in other.conditions if one not in run.conditions]
    if not others:
        return ""
    return differences(run.conditions[0], theirs) if run.conditions and theirs else "other cells"


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


def table_of(store: Store, run: AblationRun) -> Table:
    """One row per variant and tested concept, the base model's first.

    Raises:
        ReportError: a cell of the ablation is no longer in the store.
    """
    rows: dict[tuple[str, ...], Row] = {}
    ablation = run.content
    shown: list[MetricRecord] = []
    for variant in ablation["variants"]:
        records = variant_records(store, variant)
        shown += [record for record in records if record.metric in ablation["metrics"]]
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
    notes = [interval_note(shown)]
    if reported := ablation["reported"]:
        headers += [Header(f"{name} (reported)") for name in reported["columns"]]
        notes.append(f"Reported: {reported['source']}; {reported['note']}.")
    if run.differs:
        notes.append(visible(f"Settings {run.settings}: {run.differs}."))
    return Table(
        f"ablation-{run.name}",
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


def render(store: Store, name: str, form: str, settings: Sequence[str] = ()) -> str:
    """An ablation as tables for the terminal (``table``), ``md``, ``csv`` or ``latex``.

    There is a table for each of the settings that it ran with, or of those that are named.

    Raises:
        ReportError: there is no such ablation, or no run of it with these settings.
    """
    runs = load_all(store)
    names = dict.fromkeys(str(run.content["name"]) for run in runs)
    if name not in names:
        known = f"there are: {', '.join(names)}" if names else "there is none"
        raise ReportError(f"no ablation {name!r} in the store ({known}): run it with --ablation")
    runs = [run for run in runs if run.content["name"] == name]
    for prefix in settings:
        if not any(run.settings.startswith(prefix) for run in runs):
            ids = ", ".join(run.settings for run in runs)
            raise ReportError(f"no run of {name} with settings {prefix!r}; there are: {ids}")
    shown = [run for run in runs if not settings or run.settings.startswith(tuple(settings))]
    return "\n".join(_render(store, run, form) for run in shown)


def render_run(store: Store, entry: Entry, form: str) -> str:
    """The table of exactly the run that an entry records; forms as of `render`."""
    return _render(store, read_run(store, entry), form)


def _render(store: Store, run: AblationRun, form: str) -> str:
    table = table_of(store, run)
    count = 1 if len({row.labels[0] for row in table.rows}) == 1 else 2
    rows = tuple(replace(row, labels=row.labels[::-1][:count]) for row in table.rows)
    return FORMS[form](replace(table, labels=("variant", "concept")[:count], rows=rows))
