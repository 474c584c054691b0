"""Commands that look into a store: ``report``, ``figures``, ``status``. They measure nothing."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated, Any

import typer

from varbench.cli.options import (
    DEFAULT_STORE,
    ConceptFilter,
    MethodFilter,
    ModelFilter,
    StoreOption,
    SuiteFilter,
    filters_of,
    names,
    user_errors,
)
from varbench.errors import UserError

app = typer.Typer()


@app.command()
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
    model: ModelFilter = "",
    method: MethodFilter = "",
    concept: ConceptFilter = "",
    suite: SuiteFilter = "",
    metric: Annotated[str, typer.Option(help="Only these metrics, by comma.")] = "",
    ablation: Annotated[
        str | None, typer.Option(help="The table of this ablation, as it was last run.")
    ] = None,
    reported: Annotated[
        bool, typer.Option("--reported", help="Then the figures that papers report, apart.")
    ] = False,
) -> None:
    """Tables and the page, from a store or from results files."""
    with user_errors():
        from varbench.report import only_metrics, render, write_views
        from varbench.report.ablation_table import render as render_ablation
        from varbench.store import Store

        filters = filters_of(model, method, concept, suite)
        if reported and (out is not None or ablation is not None):
            raise UserError("--reported prints beside the tables: drop --out and --ablation")
        if ablation is not None:
            typer.echo(render_ablation(Store(store), ablation, format), nl=False)
            return
        records, cells, rest = _shown(store, results, filters)
        if metric:
            records = only_metrics(records, names(metric, "--metric"))
        if table == "paper":
            _paper(records, cells, rest.get("store"), format, out, reported)
            return
        if out is not None:
            for path in write_views(records, cells, out, **rest):
                typer.echo(f"wrote {path}", err=True)
            return
        text = render(records, format, table)
        if reported:
            from varbench.leaderboard.reported import render_reported
            from varbench.utils.files import packaged

            text += "\n" + render_reported(packaged("results/reported"), format)
        typer.echo(text, nl=False)


def _paper(
    records: Any, cells: Any, store: Any, format: str, out: Path | None, reported: bool
) -> None:
    """The tables of a paper, printed or written into a folder."""
    from varbench.leaderboard.reported import render_reported
    from varbench.report.paper import ablation_tables, paper_tables, render_paper, write_paper
    from varbench.utils.files import packaged

    tables = paper_tables(records, cells)
    tables += [] if store is None else ablation_tables(store)
    if out is not None:
        for path in write_paper(tables, out):
            typer.echo(f"wrote {path}", err=True)
        return
    form = "md" if format == "table" else format
    more = render_reported(packaged("results/reported"), form) if reported else ""
    typer.echo(render_paper(tables, form, more), nl=False)


def _shown(store: Path, results: Path | None, filters: Any) -> tuple[Any, Any, dict[str, Any]]:
    """Records and cells of a store or of results files, and what the page needs of a store."""
    from varbench.report import build_records, load_cells, select

    if results is not None:
        from varbench.leaderboard.views import cells_of, load, records_of
        from varbench.report.records import to_frame

        chosen = select(load(results), filters)
        return to_frame(records_of(chosen)), cells_of(chosen), {}
    from varbench.store import Store

    everything = load_cells(Store(store))
    cells = select(everything, filters)
    return build_records(cells), cells, {"store": Store(store), "all_cells": everything}


@app.command()
def status(
    store: StoreOption = DEFAULT_STORE,
    as_json: Annotated[bool, typer.Option("--json", help="For other programs.")] = False,
) -> None:
    """What a store holds, and what its runs are doing: running, failed and why."""
    with user_errors():
        from varbench.store.status import status as look

        found = look(store)
        typer.echo(found.json() if as_json else found.text())


@app.command()
def figures(
    out: Annotated[Path, typer.Option(help="Folder for the PDF and PNG files.")],
    store: StoreOption = DEFAULT_STORE,
    model: ModelFilter = "",
    method: MethodFilter = "",
    concept: ConceptFilter = "",
    suite: SuiteFilter = "",
) -> None:
    """Figures for papers, PDF and PNG: trade-off, ablations, images, thresholds, training."""
    with user_errors():
        from varbench.report import load_cells, select
        from varbench.report.paper.figures import write_figures
        from varbench.store import Store

        everything = load_cells(Store(store))
        chosen = select(everything, filters_of(model, method, concept, suite))
        for path in write_figures(Store(store), chosen, everything, out):
            typer.echo(f"wrote {path}", err=True)
