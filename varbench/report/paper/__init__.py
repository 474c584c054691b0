"""The tables of a paper: layouts, ties by a paired test, and LaTeX, Markdown, CSV and HTML."""

from __future__ import annotations

from varbench.report.paper.ablation import ablation_tables
from varbench.report.paper.layouts import LAYOUTS, PaperTable, paper_tables
from varbench.report.paper.text import FORMS, render_paper, write_paper

__all__ = [
    "FORMS",
    "LAYOUTS",
    "PaperTable",
    "ablation_tables",
    "paper_tables",
    "render_paper",
    "write_paper",
]
