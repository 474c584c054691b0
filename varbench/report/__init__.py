"""Reports: tables, plots and pages of the results in a store. Nothing is scored or generated."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path

from varbench.metrics.record import MetricRecord
from varbench.report.cells import CellRecord, Filters, ReportError, load_cells, select
from varbench.report.records import load_records, only_metrics, records_of
from varbench.report.tables import render
from varbench.report.text import write_texts
from varbench.store import Store

__all__ = [
    "Filters",
    "ReportError",
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
    *,
    store: Store | None = None,
    all_cells: Sequence[CellRecord] | None = None,
) -> list[Path]:
    """Write Markdown, CSV, JSON and the page into folder `out`; return their paths.

    The same results give the same bytes. A file appears whole or not at all, so a page that is open
    in a browser never shows half of a report.

    Args:
        records, cells, store, all_cells: as `render_page` takes them.
        out: the folder, made if missing.
    """
    from varbench.report.page import render_page  # slow to load, and tables need none

    forms = ("md", "csv", "json")
    paths = write_texts(((f"report.{form}", render(records, form)) for form in forms), out)
    page = render_page(store, cells, records, all_cells)
    return [*paths, *write_texts([("index.html", page)], out)]
