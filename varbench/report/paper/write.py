"""Paper tables as whole texts, and as files: a LaTeX document compiles as it is."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path

from varbench.errors import unknown
from varbench.report.render import PAPER_FORMS
from varbench.report.table import Table
from varbench.utils.files import write_whole

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


def render_paper(tables: Sequence[Table], form: str, more: str = "") -> str:
    """All tables as one text that ends in a line break.

    Args:
        tables: from `paper_tables`.
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
    out.mkdir(parents=True, exist_ok=True)
    texts = {}
    for table in tables:
        for form, ending in ENDINGS.items():
            text = PAPER_FORMS[form](table)
            texts[out / f"{table.name}.{ending}"] = _html_page(text) if form == "html" else text
    inputs = "".join(f"\\input{{{table.name}.tex}}\n" for table in tables)
    texts[out / "paper.tex"] = f"{_PREAMBLE}{inputs}\\end{{document}}\n"
    for path, text in texts.items():
        write_whole(path, text)
    return list(texts)


def _html_page(body: str) -> str:
    return f"{_HTML}{body}</body></html>\n"
