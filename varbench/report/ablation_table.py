"""The table of an ablation: its variants in their order, with the paper's figures beside ours."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from typing import Any

import pandas as pd
from tabulate import tabulate

from varbench.report.columns import column
from varbench.report.records import BASE, Cell, ReportError, build_records, means, read_cell
from varbench.report.text import MISSING
from varbench.store import Store
from varbench.store.sequence import sequence_of

STAGE = "ablation"
FILE = "ablation.json"


def load(store: Store, name: str) -> dict[str, Any]:
    """The ablation of a name that was run last.

    Raises:
        ReportError: none is in the store.
    """
    found = [e for e in store.entries(STAGE) if e.spec["name"] == name]
    if not found:
        there = sorted({e.spec["name"] for e in store.entries(STAGE)})
        known = f"there are: {', '.join(there)}" if there else "there is none"
        raise ReportError(f"no ablation {name!r} in the store ({known}): run it with --ablation")
    body: dict[str, Any] = max(found, key=sequence_of).json(FILE)
    return body


def table(store: Store, ablation: Mapping[str, Any]) -> pd.DataFrame:
    """Finished text: one row per variant and tested concept, the unerased model's first.

    Raises:
        ReportError: a cell of the ablation is no longer in the store.
    """
    rows = []
    for variant in ablation["variants"]:
        cells = [cell_of(store, key) for key in variant["cells"]]
        values = means(build_records(cells))
        for concept in dict.fromkeys(cell.concept for cell in cells):
            for base in (True, False):
                of_row = values[
                    (values["concept"] == concept) & ((values["method"] == BASE) == base)
                ]
                label = "unerased" if base else variant["label"]
                rows.append(_row(label, concept, of_row, ablation, {} if base else variant))
    frame = pd.DataFrame(rows).drop_duplicates(ignore_index=True)
    return frame.drop(columns="concept") if frame["concept"].nunique() == 1 else frame


def cell_of(store: Store, key: str) -> Cell:
    """A cell of an ablation. Raises ReportError if it is no longer in the store."""
    entry = store.find("cell", key)
    if entry is None:
        raise ReportError(f"cell {key[:8]} of the ablation is gone: run the ablation again")
    return read_cell(entry, store)


def _row(
    label: str,
    concept: str,
    values: pd.DataFrame,
    ablation: Mapping[str, Any],
    variant: Mapping[str, Any],
) -> dict[str, str]:
    row = {"variant": label, "concept": concept}
    by_metric = {str(r["metric"]): r for r in values.to_dict("records")}
    for metric in ablation["metrics"]:
        shown = column(metric)
        r = by_metric.get(metric)
        numbers = [None if r is None or pd.isna(r[k]) else float(r[k]) for k in
                   ("value", "ci_low", "ci_high")]  # fmt: skip
        row[shown.header(percent=True)] = shown.text(*numbers, percent=True)
    reported = ablation["reported"]
    if reported:
        figures = variant.get("reported") or [""] * len(reported["columns"])
        for name, figure in zip(reported["columns"], figures, strict=True):
            row[f"{name} (reported)"] = figure or MISSING
    return row


def render(store: Store, name: str, form: str) -> str:
    """An ablation as a table for the terminal (``table``), ``md``, ``csv`` or ``latex``.

    Raises:
        ReportError: unknown form, or there is no such ablation.
    """
    ablation = load(store, name)
    if form not in _FORMS:
        raise ReportError(f"an ablation has no format {form!r}; choose: {', '.join(_FORMS)}")
    frame = table(store, ablation)
    reported = ablation["reported"]
    note = f"Reported: {reported['source']}; {reported['note']}." if reported else ""
    return _FORMS[form](ablation["title"], frame, note)


def _grid(form: str) -> Callable[[str, pd.DataFrame, str], str]:
    def text(title: str, frame: pd.DataFrame, note: str) -> str:
        grid = tabulate(frame, "keys", form, showindex=False, disable_numparse=True)
        return "\n\n".join(part for part in (title, grid, note) if part) + "\n"

    return text


def _csv(title: str, frame: pd.DataFrame, note: str) -> str:
    return str(frame.to_csv(index=False, lineterminator="\n"))


_FORMS: dict[str, Callable[[str, pd.DataFrame, str], str]] = {
    "table": _grid("simple"),
    "md": _grid("pipe"),
    "csv": _csv,
    "latex": _grid("latex_booktabs"),
}
