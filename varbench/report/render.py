"""A table as text for the terminal, Markdown, LaTeX, CSV and HTML; texts end in a line break."""

from __future__ import annotations

import csv
import io
from collections.abc import Callable, Sequence

from markupsafe import escape
from tabulate import LATEX_ESCAPE_RULES, tabulate

from varbench.report.table import Table, TableCell
from varbench.report.text import MINUS, MISSING

_WIDTH = 100
"""Characters of a table in the terminal."""
_LATEX_SYMBOLS = {
    "↑": r"$\uparrow$", "↓": r"$\downarrow$", MINUS: "$-$", MISSING: "--", "·": r"$\cdot$",
    "\u2009": r"\,", "×": r"$\times$", "≈": r"$\approx$",
}  # fmt: skip


def _terminal(table: Table) -> str:
    """In blocks of columns that fit into `_WIDTH`: wrapped lines cannot be read."""
    headers, rows = table.headers(), table.texts()
    parts = [table.title]
    for block in _blocks(table, headers, rows):
        heads, lines = [headers[i] for i in block], [[row[i] for i in block] for row in rows]
        parts += [tabulate(lines, heads, "simple", disable_numparse=True), ""]
    return "\n".join([*parts, f"{table.note}\n"])


def _blocks(table: Table, headers: Sequence[str], rows: Sequence[Sequence[str]]) -> list[list[int]]:
    """Numbers of columns, in blocks with the labels in front of each."""
    widths = [max(map(len, column)) + 2 for column in zip(headers, *rows, strict=True)]
    labels = list(range(len(table.labels)))
    blocks = [labels]
    for place in range(len(labels), len(headers)):
        full = sum(widths[i] for i in blocks[-1]) + widths[place] > _WIDTH
        if full and blocks[-1] != labels:
            blocks.append(labels)
        blocks[-1] = [*blocks[-1], place]
    return blocks


def _markdown(table: Table) -> str:
    """A section of a Markdown page; the best numbers are bold."""
    return f"## {_markdown_text(table.title)}\n\n{markdown_grid(table)}\n\n{table.note}\n"


def markdown_grid(table: Table) -> str:
    """The table alone, as a Markdown pipe table without a line break at the end."""

    def show(cell: TableCell) -> str:
        number, *rest = map(_markdown_text, cell.parts())
        return " ".join([f"**{number}**" if cell.best else number, *rest])

    rows = table.texts(show, _markdown_text)
    heads = [_markdown_text(head) for head in table.headers()]
    return str(tabulate(rows, heads, "pipe", disable_numparse=True))


def _markdown_text(text: str) -> str:
    """Text as Markdown shows it literally."""
    for char, safe in (("&", "&amp;"), ("<", "&lt;"), ("|", "\\|"), ("_", "\\_"), ("*", "\\*")):
        text = text.replace(char, safe)
    return text


def latex(table: Table) -> str:
    """A LaTeX table; needs the packages booktabs and graphicx."""
    grid = tabulate(table.texts(), table.headers(), "latex_booktabs", disable_numparse=True)
    return _latex_float(table, _latex_symbols(grid))


def _latex_for_paper(table: Table) -> str:
    r"""As `latex`, with a label, intervals small, the best numbers bold, rows grouped.

    Rows of one group share their first label, which stands only in the first of them.
    """

    def show(cell: TableCell) -> str:
        text = _latex_text(cell.number())
        text = f"\\textbf{{{text}}}" if cell.best else text
        # The braces keep LaTeX from taking the bracket for an option of the line break before it.
        return f"{text} {{\\scriptsize {_latex_text(cell.interval)}}}" if cell.interval else text

    heads = [label.capitalize() for label in table.labels] + table.headers()[len(table.labels) :]
    lines = []
    before = None
    for group, *rest in table.texts(show, _latex_text):
        if before not in (None, group):
            lines.append(r"\midrule")
        lines.append(" & ".join(["" if group == before else group, *rest]) + r" \\")
        before = group
    columns = "l" * len(table.labels) + "r" * (len(heads) - len(table.labels))
    body, head = "\n".join(lines), " & ".join(map(_latex_text, heads))
    grid = (
        f"\\begin{{tabular}}{{{columns}}}\n\\toprule\n{head} \\\\\n\\midrule\n{body}\n"
        "\\bottomrule\n\\end{tabular}"
    )
    return _latex_float(table, grid, f"\\label{{tab:{table.name}}}\n")


def _latex_float(table: Table, grid: str, label: str = "") -> str:
    caption = _latex_text(f"{table.title}. {table.note}")
    return (
        f"\\begin{{table}}[t]\n\\centering\n\\caption{{{caption}}}\n{label}"
        f"\\resizebox{{\\linewidth}}{{!}}{{%\n{grid}}}\n\\end{{table}}\n"
    )


def _latex_text(text: str) -> str:
    """Text as LaTeX shows it literally."""
    return _latex_symbols("".join(LATEX_ESCAPE_RULES.get(char, char) for char in text))


def _latex_symbols(text: str) -> str:
    for char, command in _LATEX_SYMBOLS.items():
        text = text.replace(char, command)
    return text


def _csv_text(table: Table) -> str:
    """Comma-separated values, each cell as it is read."""
    return _csv([table.headers(), *table.texts()])


def _csv_for_paper(table: Table) -> str:
    """Columns of numbers, intervals and whether they are best, so that nothing has to be parsed."""
    heads = [
        part
        for head in table.header
        for part in (head.text, f"{head.text} interval", f"{head.text} best")
    ]
    rows = [
        [
            table.name,
            *row.labels,
            *(p for c in row.cells for p in (c.number(), c.interval, "best" if c.best else "")),
            row.n,
        ]
        for row in table.rows
    ]
    return _csv([["table", *table.labels, *heads, "n"], *rows])


def _csv(rows: Sequence[Sequence[str]]) -> str:
    buffer = io.StringIO()
    csv.writer(buffer, lineterminator="\n").writerows(rows)
    return buffer.getvalue()


def _html(table: Table) -> str:
    """An HTML table with its note below; the best numbers are strong, intervals small."""

    def show(cell: TableCell) -> str:
        text = escape(cell.number())
        strong = f"<strong>{text}</strong>" if cell.best else str(text)
        return f"{strong} <small>{escape(cell.interval)}</small>" if cell.interval else strong

    head = "".join(f'<th scope="col">{escape(name)}</th>' for name in table.headers())
    body = "".join(
        "<tr>" + "".join(f"<td>{text}</td>" for text in row) + "</tr>\n"
        for row in table.texts(show, lambda text: str(escape(text)))
    )
    return (
        f"<table><caption>{escape(table.title)}</caption><thead><tr>{head}</tr></thead>\n"
        f"<tbody>\n{body}</tbody></table>\n<p>{escape(table.note)}</p>\n"
    )


FORMS: dict[str, Callable[[Table], str]] = {
    "table": _terminal,
    "md": _markdown,
    "csv": _csv_text,
    "latex": latex,
}
PAPER_FORMS: dict[str, Callable[[Table], str]] = {
    "latex": _latex_for_paper,
    "md": _markdown,
    "csv": _csv_for_paper,
    "html": _html,
}
