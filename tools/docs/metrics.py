"""The tables of docs/metrics.md, written from the facts of the metrics.

    python -m tools.docs.metrics           write them
    python -m tools.docs.metrics --check   exit with 1 if the page is out of date

The words around the tables are the page's own. A table stands between these lines:

    <!-- metrics: main --> ... <!-- /metrics -->
"""

from __future__ import annotations

import re
import sys
from pathlib import Path

from varbench.metrics import MetricInfo
from varbench.metrics.registry import BUILT_IN
from varbench.utils.files import write_whole

PAGE = Path(__file__).parents[2] / "docs" / "metrics.md"
_BETTER = {"up": "higher", "down": "lower", "same": "as `none`", "": ""}
_HEAD = ("metric", "definition", "better", "unit", "groups", "source")
_PART = re.compile(r"(<!-- metrics: (\w+) -->\n).*?(<!-- /metrics -->)", re.DOTALL)


def with_tables(page: str) -> str:
    """The page with every table as the metrics have it now.

    Raises:
        ValueError: the page has no place for the table of some metric.
    """
    missing = {m.info.table for m in BUILT_IN.values()} - {m[2] for m in _PART.finditer(page)}
    if missing:
        raise ValueError(f"docs/metrics.md lacks <!-- metrics: {min(missing)} -->")
    return _PART.sub(lambda part: f"{part[1]}{_table(part[2])}{part[3]}", page)


def _table(name: str) -> str:
    rows = [_cells(m.info) for m in BUILT_IN.values() if m.info.table == name]
    lines = [" | ".join(cells) for cells in (_HEAD, ["---"] * len(_HEAD), *rows)]
    return "".join(f"| {line} |\n" for line in lines)


def _cells(info: MetricInfo) -> tuple[str, ...]:
    return (
        f"{info.title} `{info.id}`",
        info.definition,
        _BETTER[info.better],
        info.unit,
        ", ".join(info.groups),
        info.citation,
    )


def main(arguments: list[str]) -> str | None:
    """Write the page, or only compare it; what is wrong, for `sys.exit`."""
    page = PAGE.read_text(encoding="utf-8")
    updated = with_tables(page)
    if arguments != ["--check"]:
        write_whole(PAGE, updated)
    elif updated != page:
        return "docs/metrics.md is out of date: run python -m tools.docs.metrics"
    return None


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
