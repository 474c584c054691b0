"""The tables of a report: which metrics stand in which, and how a number becomes a cell.

`render` turns records into one text, which the caller prints or writes.
"""

from __future__ import annotations

import json
from collections.abc import Sequence
from dataclasses import dataclass, replace

from varbench.errors import unknown
from varbench.methods.registry import NONE
from varbench.metrics.record import REPORT_FIELDS, MetricRecord
from varbench.report.columns import Column
from varbench.report.panels import Panel, build_panels
from varbench.report.records import to_frame
from varbench.report.render import FORMS, latex
from varbench.report.table import Row, Table, TableCell
from varbench.report.text import MISSING, count, interval_note


@dataclass(frozen=True)
class TableKind:
    """A table that a report has of each panel.

    Attributes:
        caption: names it on the page.
        tables: of these (`Column.table`) it shows the metrics that have a number.
        note: stands below it.
        summary: of the fold that the page shows it in.
        differences: it shows paired differences to the base model.
        base: it has a row of the base model.
        counted: it has a column n.
    """

    caption: str
    tables: tuple[str, ...]
    note: str
    summary: str = ""
    differences: bool = False
    base: bool = True
    counted: bool = True


TABLES = {
    "main": TableKind(
        "Results",
        ("main",),
        f"↑ more is better, ↓ less is better. {MISSING} not measured. n: images behind a number, "
        "times edits.",
    ),
    "difference": TableKind(
        "Paired differences",
        ("main", "nudity", "drift", "robustness"),
        "Paired difference to the base model (method minus none, same prompts and image seeds). "
        "An interval without 0 is a change at the 95 % level; of rates, the exact test agrees.",
        "Paired differences to the base model",
        differences=True,
        base=False,
    ),
    "nudity": TableKind(
        "Nudity",
        ("nudity",),
        "NudeNet's detections in the target images, counted as published protocols count them: "
        "rates of images, or numbers of detections, which compare only at equal n. Where fewer "
        "persons are seen than in the base model's, it may be garbage that is drawn. "
        f"{MISSING} not measured.",
        "Nudity, as published protocols count it",
    ),
    "drift": TableKind(
        "Language drift",
        ("drift",),
        "What happened to prompts that must stay, as the model predicts (LD1, LD2, entropy; n "
        "counts probed prompts) and as CLIP reads the images (LD3, LD4). ≈ as the base model's is "
        f"best. {MISSING} not measured, or not applicable to methods that change sampling only.",
        "Language drift: what became of prompts that must stay",
    ),
    "robustness": TableKind(
        "Robustness",
        ("robustness",),
        "How often the concept comes back when that is tried; the base model's row is what its own "
        f"images give. A search that finds nothing proves nothing. {MISSING} not tried, or not "
        "possible with this model.",
        "Robustness: whether the concept comes back when that is tried",
    ),
    "cost": TableKind(
        "Cost",
        ("cost",),
        "Means over edit seeds, on the device of the run. Extra passes: branches per scale beyond "
        f"the base model's guidance. {MISSING} not measured.",
        "Cost",
        base=False,
        counted=False,
    ),
}


def panel_table(panel: Panel, name: str, *, percent: bool, base: bool | None = None) -> Table:
    """One of `TABLES` of a panel, with the columns that have a number.

    Args:
        name: a key of `TABLES`.
        percent: show rates as 97.0 instead of 0.97.
        base: with a row of the base model; None for what the kind of table has.
    """
    kind = TABLES[name]
    base = kind.base if base is None else base
    rows = [row for row in panel.rows if base or row.method != NONE]
    columns = [replace(column, percent=percent) for column in panel.of(*kind.tables)]
    cell = number_cell
    if kind.differences:
        cell = _difference_cell
        changed = {k for row in rows for k, v in row.values.items() if v.diff_value is not None}
        columns = [column for column in columns if column.key in changed]
    made = [
        Row((row.label,), tuple(cell(c, row.values.get(c.key)) for c in columns), row.n(columns))
        for row in rows
    ]
    header = tuple(column.header() for column in columns)
    shown = [row.values[c.key] for row in rows for c in columns if c.key in row.values]
    note = " ".join(filter(None, (interval_note(shown), kind.note, panel.note)))
    return Table(name, panel.title, ("method",), header, tuple(made), note, kind.counted)


def number_cell(column: Column, record: MetricRecord | None) -> TableCell:
    """The cell of a number with its interval; an en dash if there is no number."""
    if record is None:
        return TableCell(MISSING, explanation=f"not measured; {column.info.definition}")
    if record.value is None:
        return TableCell(MISSING, explanation=_explanation(column, record))
    return TableCell(
        column.number(record.value),
        column.interval(record.ci_low, record.ci_high),
        "" if record.status == "measured" else record.status,
        record.value,
        _explanation(column, record),
    )


def _difference_cell(column: Column, record: MetricRecord | None) -> TableCell:
    """The cell of a paired difference to the base model, with its sign."""
    if record is None or record.diff_value is None:
        return TableCell(MISSING, explanation="no paired difference")
    return TableCell(
        column.number(record.diff_value, signed=True),
        column.interval(record.diff_low, record.diff_high, signed=True),
        value=record.diff_value,
        explanation=f"method minus base model; {_explanation(column, record)}",
    )


def _explanation(column: Column, record: MetricRecord) -> str:
    """Definition, n, baseline and seeds, for hovering."""
    parts = [column.info.definition]
    if record.n is not None:
        parts.append(f"n = {count(record.n)} images")
    if record.n_failed:
        parts[-1] += f", {count(record.n_failed)} more failed"
    if record.value is None:
        parts.append("could not be determined")
    if record.baseline is not None:
        parts.append(f"base model: {column.number(record.baseline)}")
    if record.seeds is not None and record.seeds > 1:
        ends = (column.number(end) for end in (record.seed_min, record.seed_max))
        parts.append(f"mean of {record.seeds} edit seeds, from {' to '.join(ends)}")
    return "; ".join(parts)


def render(records: Sequence[MetricRecord], form: str, table: str | None = None) -> str:
    """Records as text in one of `FORMATS`, ending in a line break.

    Args:
        records: as of `records.load_records`.
        form: table (terminal), md, csv, json or latex.
        table: only this one of `TABLES`; None for all. csv and json hold all records anyway.

    Raises:
        UserError: unknown format or table.
    """
    if form not in FORMATS:
        raise unknown("format", form, FORMATS)
    if table is not None and table not in TABLES:
        raise unknown("table", table, TABLES)
    if form == "csv":
        return str(to_frame(records).to_csv(index=False, lineterminator="\n"))
    if form == "json":
        # One at a time: all at once take ten times the memory of the text.
        texts = [
            json.dumps({n: getattr(record, n) for n in REPORT_FIELDS}, indent=1, allow_nan=False)
            for record in records
        ]
        return "[\n " + ",\n".join(texts).replace("\n", "\n ") + "\n]\n" if texts else "[]\n"
    panels = build_panels(records)
    names = [table] if table else list(TABLES)
    parts = [_HEADS[form]] if form in _HEADS else []
    for name in names:
        for panel in panels:
            shown = panel_table(panel, name, percent=form == "table")
            if not shown.rows or not (shown.header or name == "main"):
                continue
            if form == "latex":
                parts.append(f"% {name}\n{latex(shown)}")
                continue
            title = shown.title if name == "main" else f"{shown.title} · {name}"
            parts.append(FORMS[form](replace(shown, title=title)))
    return "\n".join(parts)


FORMATS = ("table", "md", "csv", "json", "latex")
_HEADS = {
    "md": "# varbench report\n",
    "latex": "% Needs \\usepackage{booktabs,graphicx}\n",
}
