"""Tables of results: for the terminal, Markdown, CSV, JSON and LaTeX.

The functions of `TABLES` return DataFrames of finished text; `render` turns records into one
string, which the caller prints or writes.
"""

from __future__ import annotations

import json
from collections.abc import Callable, Sequence

import pandas as pd
from tabulate import LATEX_ESCAPE_RULES, tabulate

from varbench.report.columns import Column
from varbench.report.panels import Panel, Row, build_panels
from varbench.report.records import BASE, ReportError, plain
from varbench.report.text import MINUS, MISSING, visible

NOTE = (
    "Brackets: 95 % interval over prompts. ↑ more is better, ↓ less is better. "
    f"{MISSING} not measured. n: images behind the numbers of a row, over all edit seeds."
)
DRIFT_NOTE = (
    "What happened to prompts that must stay, as the model predicts (LD1, LD2, entropy; n counts "
    "probed prompts) and as CLIP reads the images (LD3, LD4). ≈ as the unerased model's is best. "
    f"{MISSING} not measured, or not applicable to methods that change sampling only."
)
ROBUSTNESS_NOTE = (
    "How often the concept comes back when that is tried; the unerased model's row is what its own "
    f"images give. A search that finds nothing proves nothing. {MISSING} not tried, or not "
    "possible with this model."
)
NUDITY_NOTE = (
    "NudeNet's detections in the target images, counted as published protocols count them: rates "
    "of images, or numbers of detections, which compare only at equal n. Where fewer persons are "
    f"seen than in the unerased model's, it may be garbage that is drawn. {MISSING} not measured."
)
COST_NOTE = (
    "Means over edit seeds, on the device of the run. Extra passes: branches per scale beyond the "
    f"unerased model's guidance. {MISSING} not measured."
)
DIFFERENCE_NOTE = (
    "Paired difference to the unerased model (method minus none, same prompts and image seeds). "
    "An interval without 0 is a change at the 95 % level."
)
WIDTH = 100  # characters, of a table in the terminal
_LEAD = ["model", "concept", "suite"]


def main_table(records: pd.DataFrame, *, percent: bool = False) -> pd.DataFrame:
    """One row per (model, concept, suite) and method, the unerased model first.

    Columns: model, concept, suite, method, one per metric with its direction ("ACC_e ↓"), n.
    Cells read "0.97 [0.94, 0.99]"; what was not measured is "–"; a value that is not a measurement
    of ours is labelled ("0.97 (reported)"). `percent` shows rates as 97.0.
    """
    return _table(build_panels(records), ("main",), _value, percent=percent)


def drift_table(records: pd.DataFrame, *, percent: bool = False) -> pd.DataFrame:
    """Language drift and entropy, rows and cells as in `main_table`."""
    return _table(build_panels(records), ("drift",), _value, percent=percent)


def robustness_table(records: pd.DataFrame, *, percent: bool = False) -> pd.DataFrame:
    """Attempts to get the concept back, rows and cells as in `main_table`."""
    return _table(build_panels(records), ("robustness",), _value, percent=percent)


def nudity_table(records: pd.DataFrame, *, percent: bool = False) -> pd.DataFrame:
    """Nudity by protocol, rows and cells as in `main_table`."""
    return _table(build_panels(records), ("nudity",), _value, percent=percent)


def cost_table(records: pd.DataFrame, *, percent: bool = False) -> pd.DataFrame:
    """What the edits cost, a row per method; the unerased model costs nothing and has none."""
    table = _table(build_panels(records), ("cost",), _value, percent=percent, base=False)
    return table.drop(columns="n")


def difference_table(records: pd.DataFrame, *, percent: bool = False) -> pd.DataFrame:
    """Signed paired differences to the unerased model, columns as in `main_table`."""
    shown = ("main", "nudity", "drift", "robustness")
    return _table(build_panels(records), shown, _difference, percent=percent, base=False)


def _value(row: Row, column: Column, percent: bool) -> str:
    found = row.values.get(column.key)
    if found is None or found.value is None:
        return MISSING
    text = column.text(found.value, found.low, found.high, percent=percent)
    return text if found.status == "measured" else f"{text} ({found.status})"


def _difference(row: Row, column: Column, percent: bool) -> str:
    found = row.values.get(column.key)
    if found is None or found.difference is None:
        return MISSING
    return column.text(*found.difference, percent=percent, signed=True)


TABLES: dict[str, tuple[Callable[..., pd.DataFrame], str]] = {
    "main": (main_table, NOTE),
    "difference": (difference_table, DIFFERENCE_NOTE),
    "nudity": (nudity_table, NUDITY_NOTE),
    "drift": (drift_table, DRIFT_NOTE),
    "robustness": (robustness_table, ROBUSTNESS_NOTE),
    "cost": (cost_table, COST_NOTE),
}


def render(records: pd.DataFrame, form: str, table: str | None = None) -> str:
    """Records as text in one of `FORMATS`, ending in a line break.

    Args:
        records: from `records.load_records`.
        form: table (terminal), md, csv, json or latex.
        table: only this one of `TABLES`; None for all. csv and json hold all records anyway.

    Raises:
        ReportError: for an unknown format or table.
    """
    if form not in FORMATS:
        raise ReportError(f"unknown format {form!r}; choose one of: {', '.join(FORMATS)}, html")
    if table is not None and table not in TABLES:
        raise ReportError(f"unknown table {table!r}; choose one of: {', '.join(TABLES)}")
    return FORMATS[form](records, [table] if table else list(TABLES))


def _table(
    panels: list[Panel],
    tables: Sequence[str],
    cell: Callable[[Row, Column, bool], str],
    *,
    percent: bool,
    base: bool = True,
) -> pd.DataFrame:
    headers: dict[str, None] = {}
    rows = []
    for panel in panels:
        mine = [column for column in panel.columns if column.table in tables]
        columns = {column.header(percent=percent): column for column in mine}
        headers |= dict.fromkeys(columns)
        for row in panel.rows:
            if base or row.method != BASE:
                lead = {"model": panel.model, "concept": panel.concept, "suite": panel.suite}
                cells = {name: cell(row, column, percent) for name, column in columns.items()}
                rows.append({**lead, "method": row.label, **cells, "n": row.n(mine)})
    return pd.DataFrame(rows, columns=[*_LEAD, "method", *headers, "n"]).fillna(MISSING)


def _sections(
    records: pd.DataFrame, names: list[str], *, percent: bool = False
) -> list[tuple[str, str, str, pd.DataFrame]]:
    """(heading, table name, note, table) per panel and table, without columns that are empty."""
    sections = []
    panels = build_panels(records)
    notes = {tuple(map(visible, (p.model, p.concept, p.suite))): p.note for p in panels}
    for name in names:
        build, note = TABLES[name]
        whole = build(records, percent=percent).map(visible)
        for lead, part in whole.groupby(_LEAD, sort=False):
            body = part.drop(columns=_LEAD)
            filled = (body != MISSING).any()
            always = body.columns.isin(["method", "n"])
            if name in ("nudity", "drift", "robustness", "cost") and not filled[~always].any():
                continue
            body = body.loc[:, filled | always]
            model, concept, suite = map(str, lead)
            told = " ".join(filter(None, [note, notes[model, concept, suite]]))
            sections.append((f"{concept} · {model} · {suite}", name, told, body))
    return sections


def _terminal(records: pd.DataFrame, names: list[str]) -> str:
    return "\n".join(
        _terminal_table(_title(heading, name), body, note)
        for heading, name, note, body in _sections(records, names, percent=True)
    )


def _title(heading: str, name: str) -> str:
    return heading if name == "main" else f"{heading} · {name}"


def _terminal_table(title: str, body: pd.DataFrame, note: str) -> str:
    parts = [title]
    for block in _blocks(body):
        parts.append(tabulate(block, "keys", "simple", showindex=False, disable_numparse=True))
        parts.append("")
    return "\n".join([*parts, f"{note}\n"])


def _blocks(body: pd.DataFrame) -> list[pd.DataFrame]:
    """The columns in blocks that fit into `WIDTH`, the method in front of each: ten metrics with
    intervals are wider than a terminal, and wrapped lines cannot be read."""
    wide = {name: max(map(len, [name, *body[name]])) + 2 for name in map(str, body.columns)}
    blocks: list[list[str]] = [["method"]]
    for name in map(str, body.columns[1:]):
        if sum(wide[n] for n in blocks[-1]) + wide[name] > WIDTH and len(blocks[-1]) > 1:
            blocks.append(["method"])
        blocks[-1].append(name)
    return [body[names] for names in blocks]


def _markdown(records: pd.DataFrame, names: list[str]) -> str:
    parts = [
        _markdown_table(_title(heading, name), body, note)
        for heading, name, note, body in _sections(records, names)
    ]
    return "\n".join(["# varbench report\n", *parts])


def _markdown_table(title: str, body: pd.DataFrame, note: str) -> str:
    rows = [[markdown(cell) for cell in row] for row in body.values.tolist()]
    grid = tabulate(rows, map(markdown, body.columns), "pipe", disable_numparse=True)
    return f"## {markdown(title)}\n\n{grid}\n\n{note}\n"


def markdown(text: str) -> str:
    """Text as Markdown shows it literally."""
    for char, safe in (("&", "&amp;"), ("<", "&lt;"), ("|", "\\|"), ("_", "\\_"), ("*", "\\*")):
        text = text.replace(char, safe)
    return text


def _latex(records: pd.DataFrame, names: list[str]) -> str:
    parts = ["% Needs \\usepackage{booktabs,graphicx}\n"]
    for heading, name, note, body in _sections(records, names):
        parts.append(f"% {name}\n{_latex_table(heading, body, note)}")
    return "\n".join(parts)


def _latex_table(title: str, body: pd.DataFrame, note: str) -> str:
    grid = tabulate(body.values.tolist(), body.columns, "latex_booktabs", disable_numparse=True)
    return (
        f"\\begin{{table}}[t]\n\\centering\n\\caption{{{latex(f'{title}. {note}')}}}\n"
        f"\\resizebox{{\\linewidth}}{{!}}{{%\n{_latex_symbols(grid)}}}\n\\end{{table}}\n"
    )


def latex(text: str) -> str:
    """Text as LaTeX shows it literally."""
    return _latex_symbols("".join(LATEX_ESCAPE_RULES.get(char, char) for char in text))


def _latex_symbols(text: str) -> str:
    symbols = {"↑": r"$\uparrow$", "↓": r"$\downarrow$", MINUS: "$-$", MISSING: "--"}
    symbols |= {"·": r"$\cdot$", "\u2009": r"\,", "×": r"$\times$", "≈": r"$\approx$"}
    for char, command in symbols.items():
        text = text.replace(char, command)
    return text


def _csv(records: pd.DataFrame, names: list[str]) -> str:
    return str(records.to_csv(index=False, lineterminator="\n"))


def _json(records: pd.DataFrame, names: list[str]) -> str:
    return json.dumps(plain(records), indent=1, allow_nan=False) + "\n"


FORMATS: dict[str, Callable[[pd.DataFrame, list[str]], str]] = {
    "table": _terminal,
    "md": _markdown,
    "csv": _csv,
    "json": _json,
    "latex": _latex,
}
_ONE: dict[str, Callable[[str, pd.DataFrame, str], str]] = {
    "table": _terminal_table,
    "md": _markdown_table,
    "latex": _latex_table,
}


def render_one(title: str, body: pd.DataFrame, note: str, form: str) -> str:
    """One finished table of text in the look of the others, ending in a line break.

    Raises:
        ReportError: a format that has no tables.
    """
    if form not in _ONE:
        raise ReportError(f"{form!r} has no such table; choose one of: {', '.join(_ONE)}")
    return _ONE[form](title, body, note)
