"""The pages that show published results: README's table and claims, and docs/results.md.

    python -m tools.results.pages           write them
    python -m tools.results.pages --check   exit with 1 if one is out of date

They are made of the results files and of nothing else. Of a concept of which the base model is not
measured again yet, superseded files are shown, and README names their methods. README keeps its own
words around the parts between these markers:

    <!-- table --> ... <!-- /table -->
    <!-- claims --> ... <!-- /claims -->
"""

from __future__ import annotations

import re
import sys
from collections.abc import Sequence
from dataclasses import replace
from pathlib import Path

from tools.results.claims import SHOWN, broken, claims_text
from varbench.leaderboard.check import CONCEPTS
from varbench.leaderboard.json_files import ResultsError
from varbench.leaderboard.records import load, records_of
from varbench.leaderboard.results import SUPERSEDED, Result
from varbench.methods.registry import NONE
from varbench.pipeline.compatibility import GALLERY
from varbench.report import render
from varbench.report.panels import build_panels
from varbench.report.render import markdown_grid
from varbench.report.table import Row, Table
from varbench.report.tables import number_cell
from varbench.utils.files import write_whole

ROOT = Path(__file__).parents[2]
README, TABLES = Path("README.md"), Path("docs") / "results.md"
_COLUMNS = (
    "erasure_rate", "unrecognised", "acc_n", "acc_u", "clip_score", "fid_base", "attack_success",
    "completion",
)  # fmt: skip
_HEAD = """\
# Results on the Gallery

Made by `python -m tools.results.pages` from the files in `results/leaderboard/`, which say how each
number came to be; the same as `varbench report --results results/leaderboard --format md{option}`.
{superseded}

Seconds and memory in the cost tables do not compare: the cores were shared with other work.
"""


def write(root: Path = ROOT) -> list[Path]:
    """Write the pages of a repository; returns the files, README first.

    Raises:
        ResultsError: a claim of README does not hold, or a marker or the results are missing.
            Nothing is written then.
    """
    results = _results(root)
    if wrong := broken(shown_results(results)):
        raise ResultsError(f"{'; '.join(wrong)}: change it in tools/results/claims.py")
    pages = _pages(root, results)
    for path, text in pages.items():
        write_whole(root / path, text)
    return [root / path for path in pages]


def outdated(root: Path = ROOT) -> list[str]:
    """Pages and claims that do not agree with the results files, each with the reason."""
    results = _results(root)
    if wrong := broken(shown_results(results)):
        return [f"{README}: {reason}" for reason in wrong]
    return [
        f"{path} is out of date: run python -m tools.results.pages"
        for path, text in _pages(root, results).items()
        if not (root / path).is_file() or (root / path).read_text(encoding="utf-8") != text
    ]


def _pages(root: Path, results: Sequence[Result]) -> dict[Path, str]:
    return {README: _readme(root, results), TABLES: _tables(results)}


def _results(root: Path) -> list[Result]:
    """All results on the Gallery, superseded ones included."""
    results = load(root / "results" / "leaderboard", superseded=True)
    return [result for result in results if result.model == GALLERY]


def shown_results(results: Sequence[Result]) -> list[Result]:
    """Measured results, and the superseded ones of concepts without a measured base model."""
    measured = {r.concept for r in results if (r.method, r.status) == (NONE, "measured")}
    return [r for r in results if r.status != SUPERSEDED or r.concept not in measured]


def superseded_text(results: Sequence[Result]) -> str:
    """A line that names the methods of superseded results; empty without any."""
    shown, lines = shown_results(results), []
    for words, of_words in (("shown until", True), ("left out until", False)):
        methods = {
            result.method
            for result in results
            if result.status == SUPERSEDED and (result in shown) == of_words
        }
        if methods:
            every = methods == {result.method for result in results}
            names = "all methods" if every else ", ".join(sorted(methods))
            lines.append(f"Superseded (earlier code), {words} they are measured again: {names}.")
    return "\n".join(lines)


def _readme(root: Path, results: Sequence[Result]) -> str:
    text = (root / README).read_text(encoding="utf-8")
    table = f"{_table(shown_results(results))}\n\n{superseded_text(results)}"
    text = _between(text, "table", table.strip())
    return _between(text, "claims", claims_text(shown_results(results)))


def _between(text: str, marker: str, content: str) -> str:
    pattern = re.compile(f"(<!-- {marker} -->\n).*?(<!-- /{marker} -->)", re.DOTALL)
    if len(pattern.findall(text)) != 1:
        raise ResultsError(f"{README} needs <!-- {marker} --> and <!-- /{marker} --> once")
    return pattern.sub(lambda found: f"{found[1]}{content}\n{found[2]}", text)


def _table(results: Sequence[Result]) -> str:
    """README's table: the main methods on the main concepts."""
    shown = [r for r in results if r.default and r.method in (NONE, *SHOWN)]
    # The line below the table says what is superseded, so its numbers need not.
    records = [replace(record, status="measured") for record in records_of(shown)]
    panels = {panel.concept: panel for panel in build_panels(records)}
    if missing := [concept for concept in CONCEPTS if concept not in panels]:
        raise ResultsError(f"no results for {', '.join(missing)}: run them, then publish")
    by_key = {c.key: replace(c, percent=False) for c in panels[CONCEPTS[0]].columns}
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
    shown = shown_results(results)
    rest = render(records_of(shown), "md").partition("\n")[2]
    option = " --superseded" if any(result.status == SUPERSEDED for result in shown) else ""
    return _HEAD.format(option=option, superseded=superseded_text(results)) + rest


def main(arguments: list[str], root: Path = ROOT) -> str | None:
    """Write the pages, or only compare them; returns what is wrong, for `sys.exit`."""
    if arguments not in ([], ["--check"]):
        return f"unknown option {arguments[0]!r}; there is --check"
    try:
        if arguments:
            return "\n".join(outdated(root)) or None
        write(root)
    except ResultsError as error:
        return str(error)
    return None


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
