"""Paper tables as text: LaTeX with booktabs that compiles as it is, Markdown, CSV and HTML."""

from __future__ import annotations

import csv
import io
from collections.abc import Callable, Sequence
from pathlib import Path

from markupsafe import escape
from tabulate import tabulate

from varbench.report.paper.layouts import Line, Number, PaperTable
from varbench.report.records import ReportError
from varbench.report.tables import latex, markdown
from varbench.utils.files import write_whole

_PREAMBLE = r"""\documentclass{article}
\usepackage{booktabs,graphicx}
\usepackage[margin=2cm]{geometry}
\begin{document}
"""


def render_paper(tables: Sequence[PaperTable], form: str, more: str = "") -> str:
    """All tables as one text that ends in a line break.

    Args:
        tables: from `layouts.paper_tables`.
        form: one of `FORMS`; LaTeX is a whole document.
        more: tables of figures that papers report, in the same form, to stand below.

    Raises:
        ReportError: unknown form.
    """
    if form not in FORMS:
        raise ReportError(f"paper tables have no format {form!r}; choose: {', '.join(FORMS)}")
    body = "\n".join(FORMS[form](table) for table in tables)
    if form == "latex":
        return f"{_PREAMBLE}{body}\n{more}\\end{{document}}\n"
    if form == "html":
        return f"{_HTML}{body}</body></html>\n"
    return f"{body}\n{more}" if more else body


def write_paper(tables: Sequence[PaperTable], out: Path) -> list[Path]:
    r"""Every table as a file of its own in each form, and `paper.tex`, which shows all of them.

    Returns:
        The files written. A paper takes a table in by ``\input{nsfw.tex}``.
    """
    out.mkdir(parents=True, exist_ok=True)
    endings = {"latex": "tex", "md": "md", "csv": "csv", "html": "html"}
    written = []
    for table in tables:
        for form, ending in endings.items():
            text = FORMS[form](table)
            if form == "html":
                text = f"{_HTML}{text}</body></html>\n"
            written.append(out / f"{table.name}.{ending}")
            write_whole(written[-1], text)
    inputs = "".join(f"\\input{{{table.name}.tex}}\n" for table in tables)
    written.append(out / "paper.tex")
    write_whole(written[-1], f"{_PREAMBLE}{inputs}\\end{{document}}\n")
    return written


def _latex(table: PaperTable) -> str:
    head = " & ".join(latex(text) for text in ("Concept", "Method", *table.headers, "n"))
    lines = []
    before = None
    for line in table.lines:
        if before not in (None, line.concept):
            lines.append(r"\midrule")
        concept = "" if line.concept == before else latex(line.concept)
        before = line.concept
        cells = [concept, latex(line.method), *map(_latex_number, line.numbers), latex(line.n)]
        lines.append(" & ".join(cells) + r" \\")
    notes = " ".join(latex(note) for note in table.notes)
    columns = "ll" + "r" * (len(table.headers) + 1)
    body = "\n".join(lines)
    return (
        f"\\begin{{table}}[t]\n\\centering\n\\caption{{{latex(table.title)}. {notes}}}\n"
        f"\\label{{tab:{table.name}}}\n\\resizebox{{\\linewidth}}{{!}}{{%\n"
        f"\\begin{{tabular}}{{{columns}}}\n\\toprule\n{head} \\\\\n\\midrule\n{body}\n"
        f"\\bottomrule\n\\end{{tabular}}}}\n\\end{{table}}\n"
    )


def _latex_number(number: Number) -> str:
    value = latex(number.value)
    value = f"\\textbf{{{value}}}" if number.bold else value
    # The braces keep LaTeX from taking the bracket for an option of the line break before it.
    return f"{value} {{\\scriptsize {latex(number.interval)}}}" if number.interval else value


def _rows(table: PaperTable, show: Callable[[Number], str]) -> list[list[str]]:
    return [[*_lead(line), *map(show, line.numbers), line.n] for line in table.lines]


def _lead(line: Line) -> tuple[str, str]:
    return line.concept, line.method


def _headers(table: PaperTable) -> list[str]:
    return ["concept", "method", *table.headers, "n"]


def _markdown(table: PaperTable) -> str:
    def show(number: Number) -> str:
        value = f"**{markdown(number.value)}**" if number.bold else markdown(number.value)
        return f"{value} {number.interval}".strip()

    rows = [[*map(markdown, row[:2]), *row[2:]] for row in _rows(table, show)]
    grid = tabulate(rows, map(markdown, _headers(table)), "pipe", disable_numparse=True)
    return f"## {markdown(table.title)}\n\n{grid}\n\n{' '.join(table.notes)}\n"


def _csv(table: PaperTable) -> str:
    """Columns of values, intervals and whether they are best, so that nothing has to be parsed."""
    buffer = io.StringIO()
    writer = csv.writer(buffer, lineterminator="\n")
    parts = [part for name in table.headers for part in (name, f"{name} interval", f"{name} best")]
    writer.writerow(["table", "concept", "method", *parts, "n"])
    for line in table.lines:
        cells = [
            part for n in line.numbers for part in (n.value, n.interval, "best" if n.bold else "")
        ]
        writer.writerow([table.name, *_lead(line), *cells, line.n])
    return buffer.getvalue()


_HTML = (
    '<!doctype html><html lang="en"><head><meta charset="utf-8"><title>varbench: paper tables'
    "</title><style>body{font:16px/1.5 system-ui,sans-serif;margin:2rem}table{border-collapse:"
    "collapse;font-variant-numeric:tabular-nums}th,td{padding:.25rem .7rem;text-align:right}"
    "thead th{border-block:1px solid}tbody tr:last-child>*{border-bottom:1px solid}"
    "th:first-child,td:first-child{text-align:left}small{color:#666}caption{text-align:left;"
    "padding-bottom:.6rem}p{max-width:60rem;color:#555}</style></head><body>\n"
)


def _html(table: PaperTable) -> str:
    def show(number: Number) -> str:
        value = escape(number.value)
        strong = f"<strong>{value}</strong>" if number.bold else str(value)
        return f"{strong} <small>{escape(number.interval)}</small>" if number.interval else strong

    head = "".join(f'<th scope="col">{escape(name)}</th>' for name in _headers(table))
    body = "".join(
        "<tr>"
        + "".join(f"<td>{escape(text)}</td>" for text in _lead(line))
        + "".join(f"<td>{show(number)}</td>" for number in line.numbers)
        + f"<td>{escape(line.n)}</td></tr>\n"
        for line in table.lines
    )
    notes = escape(" ".join(table.notes))
    return (
        f"<table><caption>{escape(table.title)}</caption><thead><tr>{head}</tr></thead>\n"
        f"<tbody>\n{body}</tbody></table>\n<p>{notes}</p>\n"
    )


FORMS: dict[str, Callable[[PaperTable], str]] = {
    "latex": _latex,
    "md": _markdown,
    "csv": _csv,
    "html": _html,
}
