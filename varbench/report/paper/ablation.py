"""Stored ablations as tables of a paper, the reported figures in columns of their own."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

import pandas as pd

from varbench.report import ablation_table
from varbench.report.paper.layouts import Line, Number, PaperTable
from varbench.report.text import visible
from varbench.store import Store


def ablation_tables(store: Store) -> list[PaperTable]:
    """A table per ablation that was run, by name; nothing is bold, since no variant is a method.

    Raises:
        ReportError: a cell of one is no longer in the store.
    """
    names = sorted({entry.spec["name"] for entry in store.entries(ablation_table.STAGE)})
    made = []
    for name in names:
        content = ablation_table.load(store, name)
        made.append(_table(content, ablation_table.table(store, content)))
    return made


def _table(content: Mapping[str, Any], frame: pd.DataFrame) -> PaperTable:
    lead = [name for name in ("concept", "variant") if name in frame]
    numbers = [str(name) for name in frame.columns if name not in lead]
    concept = ", ".join(content["concepts"])
    lines = tuple(
        Line(
            visible(str(row.get("concept", concept))),
            visible(str(row["variant"])),
            tuple(_number(str(row[name])) for name in numbers),
            "",
        )
        for row in frame.to_dict("records")
    )
    notes = [f"Suite: {content['suite']}. Brackets: 95 % interval over prompts."]
    if reported := content["reported"]:
        notes.append(f"Reported: {reported['source']}; {reported['note']}.")
    title = str(content["title"])
    return PaperTable(f"ablation-{content['name']}", title, tuple(numbers), lines, tuple(notes))


def _number(text: str) -> Number:
    """Value and interval of finished text such as "93.1 [90.2, 95.0]"."""
    value, bracket, interval = text.partition(" [")
    return Number(value, f"[{interval}" if bracket else "", bold=False)
