"""Refusal of cells that cannot stand in one table of a leaderboard."""

from __future__ import annotations

from collections.abc import Sequence

from varbench.leaderboard.json_files import ResultsError
from varbench.report.cells import CellRecord
from varbench.report.settings import differences


def check_one_panel(cells: Sequence[CellRecord]) -> None:
    """Refuse cells of one model and concept on several suites, or with several settings.

    Raises:
        ResultsError: says how they differ, and with which option to choose.
    """
    panels: dict[tuple[str, str], dict[tuple[str, str], CellRecord]] = {}
    for cell in cells:
        panels.setdefault((cell.model, cell.concept), {})[cell.panel[2:]] = cell
    for (model, concept), measured in panels.items():
        (first, *others) = measured.values()
        if not others:
            continue
        suites = sorted({suite for suite, _ in measured})
        differ = differences(first.conditions, [other.conditions for other in others])
        what, fix = f"suites ({', '.join(suites)})", "--suite"
        if len(suites) == 1:
            ids = ", ".join(sorted(settings for _, settings in measured))
            what, fix = f"settings ({ids}; {differ})", f"--settings {first.settings}, for instance"
        raise ResultsError(
            f"{concept} on {model} was measured with several {what}, and a leaderboard compares "
            f"with one: choose with {fix}"
        )
