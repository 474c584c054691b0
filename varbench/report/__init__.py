"""Reports: views on what a store holds. Reads cells and pictures, never scores or generates."""

from __future__ import annotations

import os
import secrets
from collections.abc import Sequence
from pathlib import Path

from varbench.report.page import render_page
from varbench.report.records import (
    Cell,
    Filters,
    ReportError,
    build_records,
    load_cells,
    load_records,
    plain,
    select,
)
from varbench.report.tables import FORMATS, TABLES, difference_table, main_table, render
from varbench.store import Store

FILES = {
    "table": "report.txt",
    "md": "report.md",
    "csv": "report.csv",
    "json": "report.json",
    "latex": "report.tex",
    "html": "index.html",
}

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
    "plain",
    "render",
    "render_page",
    "select",
    "write_report",
]


def write_report(
    store: Store,
    out: Path,
    formats: Sequence[str] = ("md", "csv", "json", "html"),
    filters: Filters | None = None,
) -> list[Path]:
    """Writes one file per format (named in `FILES`) into folder `out`; returns their paths.

    The same store gives the same bytes. A file appears whole or not at all, so a page that is open
    in a browser never shows half of a report.

    Raises:
        ReportError: for an unknown format, or if nothing matches; nothing is written then.
    """
    for form in formats:
        if form not in FILES:
            raise ReportError(f"unknown format {form!r}; choose among: {', '.join(FILES)}")
    everything = load_cells(store)
    cells = select(everything, filters or Filters())
    records = build_records(cells)
    out.mkdir(parents=True, exist_ok=True)
    written = []
    for form in dict.fromkeys(formats):
        if form == "html":
            text = render_page(store, cells, records, everything)
        else:
            text = render(records, form)
        path = out / FILES[form]
        draft = path.with_name(f".{path.name}.{os.getpid()}-{secrets.token_hex(4)}")
        try:
            # A name may hold what UTF-8 cannot (a lone surrogate, from JSON); spelled out then.
            draft.write_bytes(text.encode("utf-8", "backslashreplace"))
            draft.replace(path)
        finally:
            draft.unlink(missing_ok=True)
        written.append(path)
    return written
