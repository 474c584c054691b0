"""One HTML file with everything: tables, trade-off plots, images side by side, provenance.

The file needs no network and no other file. Its content security policy allows only the script it
was made with, so text from a prompt file could not run even if escaping failed.
"""

from __future__ import annotations

import base64
import hashlib
import re
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import Any

import jinja2
import pandas as pd
from markupsafe import Markup

from varbench.report.columns import Column
from varbench.report.figures import PALETTE, RETENTION, series, tradeoff
from varbench.report.image_grid import Grid, ImageGrid, columns_of
from varbench.report.panels import Panel, Row, Value, build_panels
from varbench.report.records import BASE, Cell
from varbench.report.scales import scale_plots
from varbench.report.sources import Source, sources_of
from varbench.report.tables import (
    COST_NOTE,
    DIFFERENCE_NOTE,
    DRIFT_NOTE,
    NUDITY_NOTE,
    ROBUSTNESS_NOTE,
)
from varbench.report.text import MISSING, count, visible
from varbench.store import Store


@dataclass(frozen=True)
class TableCell:
    """One number on the page: what is read, what is smaller beneath it, what its drawer tells.

    `value` is what a column is sorted by.
    """

    main: str
    small: str
    title: str
    value: float | None = None


@dataclass(frozen=True)
class TableRow:
    """One method of a table; `swatch` is the CSS colour it has in the plot."""

    label: str
    swatch: str
    cells: tuple[TableCell, ...]
    n: str


@dataclass(frozen=True)
class PageTable:
    """A table of the page: columns with something in them, and a row per method."""

    caption: str
    columns: tuple[Column, ...]
    rows: tuple[TableRow, ...]


@dataclass(frozen=True)
class Section:
    """All the page shows of one panel."""

    anchor: str
    panel: Panel
    results: PageTable
    differences: PageTable
    nudity: PageTable
    drift: PageTable
    robustness: PageTable
    cost: PageTable
    plots: tuple[Markup, ...]
    scales: tuple[Markup, ...]
    grids: tuple[Grid, ...]
    sources: tuple[Source, ...]


def render_page(
    store: Store | None,
    cells: Sequence[Cell],
    records: pd.DataFrame,
    all_cells: Sequence[Cell] | None = None,
) -> str:
    """The page as one string of HTML.

    Args:
        store: where the images are; None for results files, which have none.
        cells: the cells to show, from `records.select`.
        records: `records.build_records(cells)`.
        all_cells: every cell of the store, if `cells` are not all: a prompt is covered if it asks
            for a covered concept of any of them.
    """
    panels = build_panels(records)
    numbers = series(sorted({row.label for panel in panels for row in panel.rows}))
    all_cells = cells if all_cells is None else all_cells
    book = None if store is None else ImageGrid(store, all_cells, cells)
    anchors = _anchors([f"{p.concept} {p.model} {p.suite}" for p in panels])
    sections = [
        _section(anchor, panel, cells, book, numbers)
        for anchor, panel in zip(anchors, panels, strict=True)
    ]
    environment = _environment()
    script, style = _asset(environment, "page.js"), _asset(environment, "page.css")
    digest = base64.b64encode(hashlib.sha256(script.encode()).digest()).decode("ascii")
    shots = [s for part in sections for g in part.grids for r in g.rows for s in r.shots if s]
    return environment.get_template("page.html.jinja").render(
        sections=sections,
        columns={
            c.key: c
            for part in sections
            for table in (part.results, part.nudity, part.drift, part.robustness, part.cost)
            for c in table.columns
        }.values(),
        methods=sorted({cell.method for cell in cells} - {BASE}),
        models=sorted({cell.model for cell in cells}),
        concepts=sorted({cell.concept for cell in cells}),
        scored=count(_scored(panels)),
        images=store is not None,
        covered=sum(shot.covered for shot in shots),
        difference_note=DIFFERENCE_NOTE,
        nudity_note=NUDITY_NOTE,
        drift_note=DRIFT_NOTE,
        robustness_note=ROBUSTNESS_NOTE,
        cost_note=COST_NOTE,
        script=Markup(script),
        script_digest=digest,
        style=Markup(style),
    )


def _environment() -> jinja2.Environment:
    def finish(value: Any) -> Any:
        # Every text on the page passes here, so no template can forget it.
        plain = isinstance(value, str) and not isinstance(value, Markup)
        return visible(value, keep="\n") if plain else value

    environment = jinja2.Environment(
        loader=jinja2.PackageLoader("varbench.report"),
        autoescape=True,
        undefined=jinja2.StrictUndefined,
        trim_blocks=True,
        lstrip_blocks=True,
        finalize=finish,
        keep_trailing_newline=True,
    )
    environment.globals["missing"] = MISSING
    return environment


def _asset(environment: jinja2.Environment, name: str) -> str:
    assert environment.loader is not None
    return environment.loader.get_source(environment, name)[0].strip()


def _anchors(names: Sequence[str]) -> list[str]:
    """A link target per name: it stays the same when other results come to the page."""
    made: list[str] = []
    for name in names:
        slug = re.sub(r"[^a-z0-9]+", "-", name.lower()).strip("-") or "panel"
        made.append(f"{slug}-{made.count(slug) + 1}" if slug in made else slug)
    return made


def _section(
    anchor: str,
    panel: Panel,
    cells: Sequence[Cell],
    book: ImageGrid | None,
    numbers: dict[str, int],
) -> Section:
    mine = [
        cell
        for cell in cells
        if (cell.model, cell.concept, cell.suite) == (panel.model, panel.concept, panel.suite)
    ]
    labels = {(row.method, row.config): row.label for row in panel.rows}
    different = [r for r in panel.rows if any(v.difference for v in r.values.values())]
    edited = [row for row in panel.rows if row.method != BASE]
    changed = [
        column
        for column in panel.of("main", "nudity", "drift", "robustness")
        if any(column.key in r.values and r.values[column.key].difference for r in different)
    ]
    plots = (tradeoff(panel, metric, numbers) for metric in RETENTION)
    shown = columns_of(mine, labels)
    scales = [] if book is None else scale_plots(book.store, shown, numbers, panel.title)
    return Section(
        anchor=anchor,
        panel=panel,
        results=_table("Results", panel.of("main"), panel.rows, numbers, _number_cell),
        differences=_table("Paired differences", changed, different, numbers, _difference_cell),
        nudity=_table("Nudity", panel.of("nudity"), panel.rows, numbers, _number_cell),
        drift=_table("Language drift", panel.of("drift"), panel.rows, numbers, _number_cell),
        robustness=_table("Robustness", panel.of("robustness"), panel.rows, numbers, _number_cell),
        cost=_table("Cost", panel.of("cost"), edited, numbers, _number_cell),
        plots=tuple(Markup(plot) for plot in plots if plot is not None),
        scales=tuple(Markup(plot) for plot in scales),
        grids=() if book is None else tuple(book.grids(shown)),
        sources=tuple(sources_of(mine, labels)),
    )


def _table(
    caption: str,
    columns: Sequence[Column],
    rows: Sequence[Row],
    numbers: dict[str, int],
    make: Callable[[Column, Value | None], TableCell],
) -> PageTable:
    made = []
    for row in rows:
        number = numbers.get(row.label)
        swatch = "currentColor" if number is None else f"var(--series-{number % len(PALETTE)})"
        cells = tuple(make(column, row.values.get(column.key)) for column in columns)
        made.append(TableRow(row.label, swatch, cells, row.n(columns)))
    return PageTable(caption, tuple(columns), tuple(made))


def _number_cell(column: Column, value: Value | None) -> TableCell:
    if value is None:
        return TableCell(MISSING, "", f"not measured; {column.definition}")
    small = column.interval(value.low, value.high, percent=True)
    if value.value is None:
        small = ""
    if value.status != "measured":
        small = f"{small} {value.status}".strip()
    main = column.number(value.value, percent=True)
    return TableCell(main, small, _title(column, value), value.value)


def _difference_cell(column: Column, value: Value | None) -> TableCell:
    if value is None or value.difference is None:
        return TableCell(MISSING, "", "no paired difference")
    by, low, high = value.difference
    return TableCell(
        column.number(by, percent=True, signed=True),
        column.interval(low, high, percent=True, signed=True),
        f"method minus unerased model; {_title(column, value)}",
        by,
    )


def _title(column: Column, value: Value) -> str:
    """Definition, n and baseline, for hovering."""
    parts = [column.definition]
    if value.n is not None:
        parts.append(f"n = {count(value.n)} images")
    if value.n_failed:
        parts[-1] += f", {count(value.n_failed)} more failed"
    if value.value is None:
        parts.append("could not be determined")
    if value.baseline is not None:
        parts.append(f"unerased model: {column.number(value.baseline, percent=True)}")
    if value.seeds is not None and value.seeds > 1:
        ends = (column.number(end, percent=True) for end in (value.seed_min, value.seed_max))
        parts.append(f"mean of {value.seeds} edit seeds, from {' to '.join(ends)}")
    return "; ".join(parts)


def _scored(panels: Sequence[Panel]) -> int:
    """Images behind the page: over panels and methods, the largest pool behind a number."""
    return sum(
        max((value.n or 0 for value in row.values.values()), default=0)
        for panel in panels
        for row in panel.rows
    )
