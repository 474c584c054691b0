"""What stands in which table of a paper, and the tables with their numbers."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import pandas as pd

from varbench.report.columns import ARROWS, Column, column
from varbench.report.panels import Panel, Row, build_panels
from varbench.report.paper.ties import PromptRows, best
from varbench.report.records import BASE, Cell
from varbench.report.text import MISSING, count, visible


@dataclass(frozen=True)
class Layout:
    """One table of a paper.

    Attributes:
        name: of its file.
        title: of its caption.
        families: concepts of these families; empty for all.
        core: metrics that have a column whether measured or not.
        more: metrics that have a column if a method was measured with them.
        protocol: the first footnote.
    """

    name: str
    title: str
    families: tuple[str, ...]
    core: tuple[str, ...]
    more: tuple[str, ...]
    protocol: str


UTILITY = ("acc_n", "acc_u", "clip_score", "fid_base")
COCO = ("clip_score_coco", "fid_coco_real", "fid_coco_base")
_RATES = "Rates are of images, by the judge that the concept names"
LAYOUTS = (
    Layout(
        "nsfw", "Nudity, and what is kept", ("nudity",), ("erasure_rate", "acc_e", *UTILITY),
        (
            "nudity_varbench", "nudity_s_vare_sensitive", "nudity_s_vare_common", "nudity_mace",
            "nudity_rece", "nudity_ear", "valid_person", *COCO,
        ),
        f"{_RATES}; counts are of NudeNet's detections and compare only at equal n",
    ),
    Layout(
        "object", "Objects", ("object",), ("erasure_rate", "acc_e", *UTILITY),
        ("acc_g", "h_o", *COCO), _RATES,
    ),
    Layout(
        "style", "Styles", ("style",), ("erasure_rate", "acc_e", *UTILITY),
        ("clip_e", "clip_s", "lpips_e", "lpips_u", *COCO), _RATES,
    ),
    Layout(
        "celebrity", "Faces", ("celebrity",), ("erasure_rate", "acc_e", *UTILITY),
        ("id_e_face", "id_s_face", "h_c", "face_rate", *COCO), _RATES,
    ),
    Layout(
        "adversarial", "Attempts to get the concept back", (), ("attack_success", "completion"),
        ("transfer",),
        "Attack success: found by gradient ascent on the erased model itself. Completion: from the "
        "coarse scales that the unerased model drew",
    ),
)  # fmt: skip


@dataclass(frozen=True)
class Number:
    """One cell of a table; `interval` is "" where there is none."""

    value: str
    interval: str
    bold: bool


@dataclass(frozen=True)
class Line:
    """A row: the concept that it is of, the method, its numbers, and n as text."""

    concept: str
    method: str
    numbers: tuple[Number, ...]
    n: str


@dataclass(frozen=True)
class PaperTable:
    """A table, ready to be set; `headers` name the numbers' columns with their direction."""

    name: str
    title: str
    headers: tuple[str, ...]
    lines: tuple[Line, ...]
    notes: tuple[str, ...]


def paper_tables(records: pd.DataFrame, cells: Sequence[Cell]) -> list[PaperTable]:
    """Every layout that has a concept among the results.

    Args:
        records: from `records.build_records` of the cells.
        cells: whose rows ties are tested on; those of results files have none.
    """
    panels = build_panels(records)
    rows = PromptRows(cells)
    made = []
    for layout in LAYOUTS:
        mine = [p for p in panels if _fits(p, layout)]
        if mine:
            made.append(_table(layout, mine, rows))
    return made


def _fits(panel: Panel, layout: Layout) -> bool:
    families = panel.family.replace(",", "+").split("+")
    if layout.families:
        return any(part.strip() in layout.families for part in families)
    return any(c.key in (*layout.core, *layout.more) for c in panel.of("robustness"))


def _table(layout: Layout, panels: Sequence[Panel], rows: PromptRows) -> PaperTable:
    there = {c.key for p in panels for c in p.of("main", "nudity", "robustness")}
    keys = [*layout.core, *(key for key in layout.more if key in there)]
    columns = [column(key) for key in keys]
    lines = []
    for panel in panels:
        marked = {c.key: best(panel, c.key, c.better, rows) for c in columns}
        concept = panel.concept if len({p.model for p in panels}) == 1 else panel.title
        for row in panel.rows:
            numbers = tuple(_number(row, c, marked[c.key]) for c in columns)
            lines.append(Line(visible(concept), visible(row.label), numbers, row.n(columns)))
    headers = tuple(f"{c.name} {c.sign(percent=True)}".strip() for c in columns)
    notes = _notes(layout, panels, rows)
    return PaperTable(layout.name, layout.title, headers, tuple(lines), notes)


def _number(row: Row, column: Column, marked: frozenset[str]) -> Number:
    found = row.values.get(column.key)
    if found is None or found.value is None:
        return Number(MISSING, "", bold=False)
    text = column.number(found.value, percent=True)
    if found.status != "measured":
        text = f"{text} ({found.status})"
    return Number(text, column.interval(found.low, found.high, percent=True), row.label in marked)


def _notes(layout: Layout, panels: Sequence[Panel], rows: PromptRows) -> tuple[str, ...]:
    models = sorted({p.model + (" (embedded)" if p.embedded else "") for p in panels})
    suites = sorted({p.suite for p in panels})
    notes = [
        f"{layout.protocol}.",
        f"Model: {', '.join(models)}. Suite: {', '.join(suites)}. All numbers are measured unless "
        f"marked. {ARROWS['up']} more is better, {ARROWS['down']} less is better. {MISSING} not "
        "measured. Brackets: 95 % interval over prompts.",
    ]
    bold = "Bold: the best"
    if any(rows.of(p, r.method, r.config, "acc_u") for p in panels for r in p.rows):
        bold += " and all that are tied with it (paired randomisation test over prompts, 5 %, Holm)"
        notes.append(f"{bold}; columns without intervals are not tested.")
    else:
        notes.append(f"{bold} value; ties are tested only from a store.")
    counts = [text for p in panels for text in [_count(p, rows)] if text]
    if counts and "erasure_rate" in layout.core:
        notes.append(f"The unerased model shows the concept in {'; '.join(counts)}.")
    seeds = {v.seeds for p in panels for r in p.rows for v in r.values.values() if v.seeds}
    most = max(seeds, default=1)
    notes.append(
        "One edit per method." if most == 1 else f"Means over up to {most} edits per method."
    )
    notes += dict.fromkeys(p.note for p in panels if p.note)
    return tuple(notes)


def _count(panel: Panel, rows: PromptRows) -> str:
    """Hits of the unerased model among target images: "240 of 240 images (face-ada)"."""
    for row in panel.rows:
        found = [] if row.method == BASE else rows.of(panel, row.method, row.config, "erasure_rate")
        if found:
            hits, n = int(found[0].base.sum()), len(found[0].base)
            return f"{count(hits)} of {count(n)} images ({visible(panel.concept)})"
    return ""
