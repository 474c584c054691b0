"""The tables and figures of a paper."""

from __future__ import annotations

from varbench.report.paper.tables import LAYOUTS, ablation_tables, paper_tables
from varbench.report.paper.write import render_paper, write_paper

__all__ = ["LAYOUTS", "ablation_tables", "paper_tables", "render_paper", "write_paper"]
