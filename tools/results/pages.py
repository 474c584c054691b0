"""The pages that show published results: README's table and claims, and docs/results.md.

They are made of the results files and of nothing else, so `varbench check` can tell a page that
says something else. README keeps its own words around the parts between these markers:

    <!-- table --> ... <!-- /table -->
    <!-- claims --> ... <!-- /claims -->
"""

from __future__ import annotations

import re
from collections.abc import Sequence
from pathlib import Path

from tools.results.claims import SHOWN, broken, claims_text
from varbench.leaderboard.check import CONCEPTS, MODEL
from varbench.leaderboard.json_files import ResultsError
from varbench.leaderboard.records import load, records_of
from varbench.leaderboard.results import Result
from varbench.methods.registry import NONE
from varbench.report import render
from varbench.report.panels import build_panels
from varbench.report.records import to_frame
from varbench.report.render import markdown_grid
from varbench.report.table import Row, Table
from varbench.report.tables import number_cell
from varbench.utils.files import write_whole

README, TABLES = Path("README.md"), Path("docs") / "results.md"
_COLUMNS = (
    "erasure_rate", "acc_n", "acc_u", "clip_score", "fid_base", "attack_success", "completion",
)  # fmt: skip
_HEAD = """\
# Results on the Gallery

Made by `varbench pages` from the files in `results/leaderboard/`, which say how each number came to
be; the same as `varbench report --results results/leaderboard --format md`. Where a method has one
edit seed, its intervals are over prompts only, not over edits.

Seconds and memory in the cost tables do not compare: the cores were shared with other work.
"""


def renew(root: Path) -> list[Path]:
    """Write the pages anew.

    Args:
        root: the repository's folder.

    Returns:
        The files written, README first.

    Raises:
        ResultsError: a claim of README does not hold, or a marker or the results are missing.
            Nothing is written then.
    """
    results = _results(root)
    if wrong := broken(results):
        raise ResultsError(f"{'; '.join(wrong)}: change it in tools/results/claims.py")
    pages = {root / README: _readme(root, results), root / TABLES: _tables(results)}
    for path, text in pages.items():
        write_whole(path, text)
    return list(pages)


def stale(root: Path) -> list[tuple[str, str]]:
    """Pages and claims that the files do not bear out: (file, what is wrong)."""
    results = _results(root)
    if wrong := broken(results):
        return [(README.as_posix(), what) for what in wrong]
    found = []
    for name, text in ((README, _readme(root, results)), (TABLES, _tables(results))):
        if not (root / name).is_file() or (root / name).read_text(encoding="utf-8") != text:
            found.append((name.as_posix(), "says other numbers than the files: varbench pages"))
    return found


def has_pages(root: Path) -> bool:
    """Whether there is a README that shows results, as in the repository but not in a wheel."""
    readme = root / README
    return readme.is_file() and "<!-- table -->" in readme.read_text(encoding="utf-8")


def _results(root: Path) -> list[Result]:
    return [r for r in load(root / "results" / "leaderboard") if r.model == MODEL]


def _readme(root: Path, results: Sequence[Result]) -> str:
    text = (root / README).read_text(encoding="utf-8")
    text = _between(text, "table", _table(results))
    return _between(text, "claims", claims_text(results))


def _between(text: str, marker: str, content: str) -> str:
    pattern = re.compile(f"(<!-- {marker} -->\n).*?(<!-- /{marker} -->)", re.DOTALL)
    if len(pattern.findall(text)) != 1:
        raise ResultsError(f"{README} needs <!-- {marker} --> and <!-- /{marker} --> once")
    return pattern.sub(lambda found: f"{found[1]}{content}\n{found[2]}", text)


def _table(results: Sequence[Result]) -> str:
    """README's table: the main methods on the main concepts."""
    shown = [r for r in results if r.default and r.method in (NONE, *SHOWN)]
    panels = {panel.concept: panel for panel in build_panels(to_frame(records_of(shown)))}
    if missing := [concept for concept in CONCEPTS if concept not in panels]:
        raise ResultsError(f"no results for {', '.join(missing)}: run, then varbench publish")
    by_key = {column.key: column for column in panels[CONCEPTS[0]].columns}
    columns = [by_key[key] for key in _COLUMNS if key in by_key]
    rows = []
    for concept in CONCEPTS:
        by_method = {row.method: row for row in panels[concept].rows}
        for method in (NONE, *SHOWN):
            if method in by_method:
                found = [by_method[method].values.get(column.key) for column in columns]
                seeds = max((record.seeds or 0 for record in found if record), default=0)
                labels = (concept if method == NONE else "", method, str(seeds))
                rows.append(Row(labels, tuple(map(number_cell, columns, found))))
    header = tuple(column.header() for column in columns)
    labels = ("concept", "method", "edits")
    return markdown_grid(Table("readme", "", labels, header, tuple(rows), counted=False))


def _tables(results: Sequence[Result]) -> str:
    rest = render(to_frame(records_of(results)), "md").partition("\n")[2]
    return f"{_HEAD}{rest}"
