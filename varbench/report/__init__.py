"""Reports: views on what a store holds. Reads cells and images, never scores or generates."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path

import pandas as pd

from varbench.report.cells import Cell, Filters, ReportError, load_cells, select
from varbench.report.page import render_page
from varbench.report.records import build_records, load_records, only_metrics, plain
from varbench.report.tables import FORMATS, TABLES, difference_table, main_table, render
from varbench.store import Store
from varbench.utils.files import write_whole

FILES = {
    "table": "report.txt",
    "md": "report.md",
    "csv": "report.csv",
    "json": "report.json",
    "latex": "report.tex",
    "html": "index.html",
}

FORMATS_OF_A_FOLDER = ("md", "csv", "json", "html")

__all__ = [
    "FILES",
    "FORMATS",
    "TABLES",
    "Cell",
    "Filters",
    "ReportError",
    "build_records",
    "difference_table",
    "load_cells",
    "load_records",
    "main_table",
    "only_metrics",
    "plain",
    "render",
    "render_page",
    "select",
    "write_report",
    "write_views",
]


def write_report(
    store: Store,
    out: Path,
    formats: Sequence[str] = FORMATS_OF_A_FOLDER,
    filters: Filters | None = None,
) -> list[Path]:
    """Writes one file per format (named in `FILES`) into folder `out`; returns their paths.

    The same store gives the same bytes. A file appears whole or not at all, so a page that is open
    in a browser never shows half of a report.

    Raises:
        ReportError: for an unknown format, or if nothing matches; nothing is written then.
    """
    _check(formats)
    everything = load_cells(store)
    cells = select(everything, filters or Filters())
    records = build_records(cells)
    return write_views(records, cells, out, formats, store=store, all_cells=everything)


def write_views(
    records: pd.DataFrame,
    cells: Sequence[Cell],
    out: Path,
    formats: Sequence[str] = FORMATS_OF_A_FOLDER,
    *,
    store: Store | None = None,
    all_cells: Sequence[Cell] | None = None,
) -> list[Path]:
    """As `write_report`, of records that are at hand; without a store the page has no images."""
    _check(formats)
    out.mkdir(parents=True, exist_ok=True)
    written = []
    for form in dict.fromkeys(formats):
        if form == "html":
            text = render_page(store, cells, records, all_cells)
        else:
            text = render(records, form)
        path = out / FILES[form]
        write_whole(path, text)
        written.append(path)
    return written


def _check(formats: Sequence[str]) -> None:
    for form in formats:
        if form not in FILES:
            raise ReportError(f"unknown format {form!r}; choose among: {', '.join(FILES)}")
