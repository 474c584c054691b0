"""The tables of a paper: a layout per family of concepts, filled with numbers; and ablations.

They are written as whole texts, or as files; a LaTeX document compiles as it is.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, replace
from pathlib import Path

from varbench.errors import unknown
from varbench.methods.registry import NONE
from varbench.metrics.record import MetricRecord
from varbench.report import ablation_table
from varbench.report.cells import CellRecord
from varbench.report.columns import column
from varbench.report.panels import Panel, build_panels
from varbench.report.render import PAPER_FORMS
from varbench.report.samples import CellSamples
from varbench.report.table import ARROWS, Row, Table
from varbench.report.tables import number_cell
from varbench.report.text import MISSING, count, interval_note, visible, write_texts
from varbench.report.ties import best
from varbench.store import Store
from varbench.utils.files import file_name


@dataclass(frozen=True)
class Layout:
    """One table of a paper.

    Attributes:
        name: of its file.
        title: of its caption.
        families: concepts of these families; empty for all.
        more: metrics that have a column if a method was measured with them.
        core: metrics that have a column whether measured or not; they come first.
        protocol: the first footnote.
    """

    name: str
    title: str
    families: tuple[str, ...]
    more: tuple[str, ...]
    core: tuple[str, ...] = (
        "erasure_rate", "unrecognised", "acc_e", "acc_n", "acc_u", "clip_score", "fid_base",
    )  # fmt: skip
    protocol: str = "Rates are of images, by the judge that the concept names"


COCO = ("clip_score_coco", "fid_coco_real", "fid_coco_base")
LAYOUTS = (
    Layout(
        "nsfw", "Nudity, and what is kept", ("nudity",),
        (
            "nudity_varbench", "nudity_s_vare_sensitive", "nudity_s_vare_common", "nudity_mace",
            "nudity_rece", "nudity_ear", "valid_person", *COCO,
        ),
        protocol=f"{Layout.protocol}; counts are of NudeNet's detections and compare only at "
        "equal n",
    ),
    Layout("object", "Objects", ("object",), ("acc_g", "h_o", *COCO)),
    Layout("style", "Styles", ("style",), ("clip_e", "clip_s", "lpips_e", "lpips_u", *COCO)),
    Layout(
        "celebrity", "Faces", ("celebrity",),
        ("id_e_face", "id_s_face", "h_c", "face_rate", *COCO),
    ),
    Layout(
        "adversarial", "Attempts to get the concept back", (), ("transfer",),
        ("attack_success", "completion"),
        "Attack success: found by gradient ascent on the erased model itself. Completion: from the "
        "coarse scales that the base model drew",
    ),
)  # fmt: skip
ENDINGS = {"latex": "tex", "md": "md", "csv": "csv", "html": "html"}
_PREAMBLE = r"""\documentclass{article}
\usepackage{booktabs,graphicx}
\usepackage[margin=2cm]{geometry}
\begin{document}
"""
_HTML = (
    '<!doctype html><html lang="en"><head><meta charset="utf-8"><title>varbench: paper tables'
    "</title><style>body{font:16px/1.5 system-ui,sans-serif;margin:2rem}table{border-collapse:"
    "collapse;font-variant-numeric:tabular-nums}th,td{padding:.25rem .7rem;text-align:right}"
    "thead th{border-block:1px solid}tbody tr:last-child>*{border-bottom:1px solid}"
    "th:first-child,td:first-child{text-align:left}small{color:#666}caption{text-align:left;"
    "padding-bottom:.6rem}p{max-width:60rem;color:#555}</style></head><body>\n"
)


def paper_tables(records: Sequence[MetricRecord], cells: Sequence[CellRecord]) -> list[Table]:
    """Every layout that has a concept among the results.

    Args:
        records: from `records.records_of` the cells.
        cells: whose paired samples ties are tested on.
    """
    panels = build_panels(records)
    samples = CellSamples(cells)
    by_layout = {layout: [panel for panel in panels if _fits(panel, layout)] for layout in LAYOUTS}
    return [_table(layout, shown, samples) for layout, shown in by_layout.items() if shown]


def ablation_tables(store: Store) -> list[Table]:
    """A table per ablation that was run, by name; nothing is bold, since no variant is a method.

    Raises:
        ReportError: a cell of one is no longer in the store.
    """
    tables = []
    for run in ablation_table.load_all(store):
        table = ablation_table.table_of(store, run)
        note = f"Suite: {run.content['suite']}. {table.note}"
        tables.append(replace(table, labels=("concept", "method"), note=note, counted=True))
    return tables


def _fits(panel: Panel, layout: Layout) -> bool:
    if layout.families:
        return panel.family in layout.families
    return any(c.key in (*layout.core, *layout.more) for c in panel.of("robustness"))


def _table(layout: Layout, panels: Sequence[Panel], samples: CellSamples) -> Table:
    measured = {c.key for p in panels for c in p.of("main", "nudity", "robustness")}
    keys = [*layout.core, *(key for key in layout.more if key in measured)]
    columns = [column(key) for key in keys]
    rows = []
    for panel in panels:
        leaders = [best(panel, c.key, c.info.better, samples) for c in columns]
        alone = len({p.model for p in panels}) == 1 and not panel.differs
        concept = panel.concept if alone else panel.title
        for row in panel.rows:
            cells = [
                replace(number_cell(c, row.values.get(c.key)), best=row.label in labels)
                for c, labels in zip(columns, leaders, strict=True)
            ]
            rows.append(Row((visible(concept), row.label), tuple(cells), row.n(columns)))
    return Table(
        layout.name,
        layout.title,
        ("concept", "method"),
        tuple(column.header() for column in columns),
        tuple(rows),
        " ".join(_notes(layout, panels, samples)),
    )


def _notes(layout: Layout, panels: Sequence[Panel], samples: CellSamples) -> list[str]:
    models = sorted({p.model + (" (embedded)" if p.embedded else "") for p in panels})
    suites = sorted({p.suite for p in panels})
    notes = [
        f"{layout.protocol}.",
        f"Model: {', '.join(models)}. Suite: {', '.join(suites)}. All numbers are measured unless "
        f"marked. {ARROWS['up']} more is better, {ARROWS['down']} less is better. {MISSING} not "
        "measured.",
        interval_note(record for p in panels for r in p.rows for record in r.values.values()),
    ]
    bold = "Bold: the best"
    if any(samples.of(r.values["acc_u"]) for p in panels for r in p.rows if "acc_u" in r.values):
        bold += " and all that are tied with it (paired tests over prompts and edits, 5 %, Holm)"
        notes.append(f"{bold}; columns without intervals are not tested.")
    else:
        notes.append(f"{bold} value; ties are tested only from a store.")
    counts = [text for p in panels for text in [_count(p, samples)] if text]
    if counts and "erasure_rate" in layout.core:
        notes.append(f"The base model shows the concept in {'; '.join(counts)}.")
    seeds = {v.seeds for p in panels for r in p.rows for v in r.values.values() if v.seeds}
    most = max(seeds, default=1)
    notes.append(
        "One edit per method." if most == 1 else f"Means over up to {most} edits per method."
    )
    notes += dict.fromkeys(p.note for p in panels if p.note)
    return notes


def _count(panel: Panel, samples: CellSamples) -> str:
    """Hits of the base model among target images: "240 of 240 images (face-ada)"."""
    for row in panel.rows:
        record = row.values.get("erasure_rate")
        if row.method != NONE and record and (edits := samples.of(record)):
            hits, n = int(edits[0].base.sum()), len(edits[0].base)
            return f"{count(hits)} of {count(n)} images ({visible(panel.concept)})"
    return ""


def render_paper(tables: Sequence[Table], form: str, more: str = "") -> str:
    """All tables as one text that ends in a line break.

    Args:
        form: latex (a whole document), md, csv or html.
        more: tables of figures that papers report, in the same form, to stand below.

    Raises:
        UserError: unknown form.
    """
    if form not in PAPER_FORMS:
        raise unknown("format", form, PAPER_FORMS)
    body = "\n".join(PAPER_FORMS[form](table) for table in tables)
    if form == "latex":
        return f"{_PREAMBLE}{body}\n{more}\\end{{document}}\n"
    if form == "html":
        return _html_page(body)
    return f"{body}\n{more}" if more else body


def write_paper(tables: Sequence[Table], out: Path) -> list[Path]:
    r"""Write every table as a file in each form, and `paper.tex`, which shows all of them.

    Returns:
        The files written. A paper takes a table in by ``\input{nsfw.tex}``.
    """
    texts = {}
    for table in tables:
        for form, ending in ENDINGS.items():
            text = PAPER_FORMS[form](table)
            texts[file_name(f"{table.name}.{ending}")] = (
                _html_page(text) if form == "html" else text
            )
    inputs = "".join(f"\\input{{{file_name(table.name)}.tex}}\n" for table in tables)
    texts["paper.tex"] = f"{_PREAMBLE}{inputs}\\end{{document}}\n"
    return write_texts(texts.items(), out)


def _html_page(body: str) -> str:
    return f"{_HTML}{body}</body></html>\n"
