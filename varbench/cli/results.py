"""Commands that read a store: ``report``, ``figures``, ``status``. They measure nothing."""

from __future__ import annotations

import shlex
from collections.abc import Sequence
from functools import partial
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

import typer

from varbench.cli.options import (
    DEFAULT_STORE,
    StoreOption,
    filters_of,
    shares,
    split_names,
    user_errors,
)
from varbench.cli.output import echo
from varbench.errors import UserError, unknown

if TYPE_CHECKING:
    from varbench.store import Entry, Store

app = typer.Typer()

PAPER = "paper"  # the choice of --table that gives all tables of a paper


@app.command()
@shares("filters", filters_of)
def report(
    store: StoreOption = DEFAULT_STORE,
    results: Annotated[
        Path | None, typer.Option(help="Read this leaderboard's folder instead of a store.")
    ] = None,
    format: Annotated[str, typer.Option(help="table, json, csv, md or latex.")] = "table",
    table: Annotated[
        str | None,
        typer.Option(
            help="Only this table: main, difference, nudity, drift, robustness, cost; or paper."
        ),
    ] = None,
    out: Annotated[
        Path | None, typer.Option(help="Write Markdown, CSV, JSON and the HTML page here.")
    ] = None,
    filters: Any = None,
    metric: Annotated[
        str | None, typer.Option(help="Only these metrics, separated by commas.")
    ] = None,
    ablation: Annotated[
        str | None, typer.Option(help="The table of this ablation's last run.")
    ] = None,
    reported: Annotated[
        bool, typer.Option("--reported", help="Add the figures that papers report, set apart.")
    ] = False,
    superseded: Annotated[
        bool, typer.Option("--superseded", help="Take also superseded files of --results.")
    ] = False,
) -> None:
    """Print tables or write the page, from a store or from results files."""
    with user_errors():
        from varbench.report import only_metrics, render, write_views
        from varbench.report.ablation_table import render as render_ablation
        from varbench.store import Store

        _check_choices(format, table, out, ablation, reported)
        if ablation is not None:
            text = render_ablation(Store(store), ablation, format, filters.settings)
            echo(text, nl=False)
            return
        if superseded and results is None:
            raise UserError("--superseded is of --results: name the folder of results files")
        records, cells, page = _selected(store, results, filters, superseded)
        if metric is not None:
            records = only_metrics(records, split_names(metric, "--metric"))
        if table == PAPER:
            _paper(records, cells, page.get("store"), format, out, reported)
        elif out is not None:
            _wrote(write_views(records, cells, out, **page))
        else:
            text = render(records, format, table)
            echo(text + ("\n" + _reported(format) if reported else ""), nl=False)


def _check_choices(
    format: str, table: str | None, out: Path | None, ablation: str | None, reported: bool
) -> None:
    """Refuse an unknown format or table, before anything is read or written."""
    from varbench.report.render import FORMS, PAPER_FORMS
    from varbench.report.tables import FORMATS, TABLES

    if table is not None and table not in (*TABLES, PAPER):
        raise unknown("table", table, (*TABLES, PAPER))
    forms: tuple[str, ...] = FORMATS if out is None else (*FORMATS, "html")
    if ablation is not None:
        forms = tuple(FORMS)
    elif table == PAPER:
        forms = ("table", *PAPER_FORMS)
    if reported:  # more tables follow in the same text
        forms = tuple(form for form in forms if form in ("table", "md", "latex"))
    if format not in forms:
        raise unknown("format", format, forms)
    if reported and (out is not None or ablation is not None):
        raise UserError("--reported prints next to the tables: drop --out and --ablation")


def _paper(
    records: Any, cells: Any, store: Any, format: str, out: Path | None, reported: bool
) -> None:
    """The tables of a paper, printed or written into a folder."""
    from varbench.report.paper import ablation_tables, paper_tables, render_paper, write_paper

    tables = paper_tables(records, cells)
    tables += [] if store is None else ablation_tables(store)
    if out is not None:
        _wrote(write_paper(tables, out))
        return
    form = "md" if format == "table" else format
    echo(render_paper(tables, form, _reported(form) if reported else ""), nl=False)


def _reported(format: str) -> str:
    from varbench.leaderboard.reported import render_reported
    from varbench.utils.files import packaged

    return render_reported(packaged("results/reported"), format)


def _selected(
    store: Path, results: Path | None, filters: Any, superseded: bool
) -> tuple[Any, Any, dict[str, Any]]:
    """Records and cells of a store or of results files, and what the page needs of a store."""
    from varbench.report import load_cells, records_of, select

    if results is not None:
        from varbench.leaderboard import records
        from varbench.leaderboard.rows import read_rows

        selected = select(records.load(results, superseded=superseded), filters)
        cells = records.cells_of(selected, partial(read_rows, results))
        return records.records_of(selected), cells, {}
    from varbench.store import Store

    all_cells = load_cells(Store(store))
    cells = select(all_cells, filters)
    return records_of(cells), cells, {"store": Store(store), "all_cells": all_cells}


def results_table(store: Store, entries: Sequence[Entry]) -> str:
    """The tables of exactly the recorded cells, and the settings that they ran with."""
    from varbench.report import records_of, render
    from varbench.report.cells import cells_of

    cells = cells_of(store, entries)
    overrides: dict[str, dict[str, None]] = {}
    for cell in cells:
        given = overrides.setdefault(cell.settings, {})
        given |= dict.fromkeys(cell.body.get("overrides") or ())
    lines = [f"settings {name}: {shlex.join(o) or 'defaults'}\n" for name, o in overrides.items()]
    return render(records_of(cells), "table") + "\n" + "".join(lines)


def _wrote(paths: list[Path]) -> None:
    for path in paths:
        echo(f"wrote {path}", err=True)


@app.command()
def status(
    store: StoreOption = DEFAULT_STORE,
    as_json: Annotated[bool, typer.Option("--json", help="For other programs.")] = False,
) -> None:
    """Show what a store holds and the state of its runs, with the reason of failed ones."""
    with user_errors():
        from varbench.store.status import status as read_status

        current = read_status(store)
        echo(current.json() if as_json else current.text())


@app.command()
@shares("filters", filters_of)
def figures(
    out: Annotated[Path, typer.Option(help="Folder for the PDF and PNG files.")],
    store: StoreOption = DEFAULT_STORE,
    filters: Any = None,
) -> None:
    """Write figures for papers, PDF and PNG: trade-off, ablations, images, thresholds, training."""
    with user_errors():
        from varbench.report import load_cells, select
        from varbench.report.figures import write_figures
        from varbench.store import Store

        all_cells = load_cells(Store(store))
        cells = select(all_cells, filters)
        _wrote(write_figures(Store(store), cells, all_cells, out))
