"""Reports: tables, plots and pages of the results in a store. Nothing is scored or generated."""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from pathlib import Path

from varbench.errors import unknown
from varbench.metrics.record import MetricRecord
from varbench.report.cells import CellRecord, Filters, ReportError, load_cells, select
from varbench.report.page import render_page
from varbench.report.records import load_records, only_metrics, records_of
from varbench.report.render import FORMS as TABLE_FORMS
from varbench.report.render import PAPER_FORMS, TEXT_FORMS
from varbench.report.tables import FORMATS, TABLES, render
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
"""Name of a report's file by format."""
PAPER = "paper"
"""The table option for all tables of a paper."""

__all__ = [
    "PAPER",
    "TABLES",
    "CellRecord",
    "Filters",
    "ReportError",
    "check_choices",
    "load_cells",
    "load_records",
    "only_metrics",
    "records_of",
    "render",
    "select",
    "write_views",
]


def write_views(
    records: Sequence[MetricRecord],
    cells: Sequence[CellRecord],
    out: Path,
    formats: Sequence[str] = ("md", "csv", "json", "html"),
    *,
    store: Store | None = None,
    all_cells: Sequence[CellRecord] | None = None,
) -> list[Path]:
    """Write one file per format (named in `FILES`) into folder `out`; return their paths.

    The same results give the same bytes. A file appears whole or not at all, so a page that is open
    in a browser never shows half of a report.

    Args:
        records, cells, store, all_cells: as `render_page` takes them.
        out: the folder, made if missing.
        formats: keys of `FILES`.

    Raises:
        UserError: an unknown format; nothing is written then.
    """
    for form in formats:
        check_choices(form, in_folder=True)
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


def check_choices(
    form: str,
    table: str | None = None,
    *,
    in_folder: bool = False,
    ablation: bool = False,
    reported: bool = False,
) -> None:
    """Refuse an unknown format or table, before anything is read or written.

    Args:
        form: the format.
        table: a key of `TABLES`, or `PAPER`; None for all of `TABLES`.
        in_folder: files are written into a folder, so that HTML is possible.
        ablation: the table is that of an ablation.
        reported: the tables of figures that papers report follow in the same text.

    Raises:
        UserError: the message lists the choices.
    """
    if table is not None and table not in (*TABLES, PAPER):
        raise unknown("table", table, (*TABLES, PAPER))
    forms: Iterable[str] = FILES if in_folder else FORMATS
    if ablation:
        forms = TABLE_FORMS
    elif table == PAPER:
        forms = ("table", *PAPER_FORMS)
    if reported:
        forms = [name for name in forms if name in TEXT_FORMS]
    if form not in forms:
        raise unknown("format", form, forms)
