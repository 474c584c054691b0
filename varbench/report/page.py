"""One HTML file with everything: tables, plots, images side by side, provenance.

The file needs no network and no other file. Its content security policy allows only the script it
was made with, so text from a prompt file could not run even if escaping failed.
"""

from __future__ import annotations

import base64
import hashlib
import json
import re
from collections import Counter
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import replace
from typing import Any

import jinja2
from markupsafe import Markup

from varbench.methods.registry import NONE
from varbench.metrics.record import MetricRecord
from varbench.report.cells import CellRecord
from varbench.report.image_grid import ImageGrid
from varbench.report.page_plots import scale_svgs, tradeoff_svg
from varbench.report.panels import Panel, build_panels
from varbench.report.plots import PALETTE, RETENTION, series
from varbench.report.table import Header
from varbench.report.tables import TABLES, panel_table
from varbench.report.text import MISSING, count, visible
from varbench.store import Store


def render_page(
    store: Store | None,
    cells: Sequence[CellRecord],
    records: Sequence[MetricRecord],
    all_cells: Sequence[CellRecord] | None = None,
) -> str:
    """The page as one string of HTML.

    Args:
        store: where the images are; None for results files, which have none.
        cells: the cells to show, from `cells.select`.
        records: `records.records_of(cells)`.
        all_cells: every cell of the store, if `cells` are not all: a prompt is covered if it asks
            for a covered concept of any of them.
    """
    panels = build_panels(records)
    numbers = series(row.label for panel in panels for row in panel.rows)
    all_cells = cells if all_cells is None else all_cells
    images = None if store is None else ImageGrid(store, all_cells, cells)
    anchors = _anchors([f"{p.concept} {p.model} {p.suite} {p.settings_name}" for p in panels])
    by_panel: dict[tuple[str, ...], list[CellRecord]] = {}
    for cell in cells:
        by_panel.setdefault(cell.panel, []).append(cell)
    sections = [
        _section(anchor, panel, by_panel.get(panel.place, ()), images, numbers)
        for anchor, panel in zip(anchors, panels, strict=True)
    ]
    environment = _environment()
    script, style = _asset(environment, "page.js"), _asset(environment, "page.css")
    digest = base64.b64encode(hashlib.sha256(script.encode()).digest()).decode("ascii")
    rows = [row for section in sections for grid in section["grids"] for row in grid.rows]
    return environment.get_template("page.html.jinja").render(
        sections=sections,
        kinds=TABLES,
        swatches={label: f"var(--series-{n % len(PALETTE)})" for label, n in numbers.items()},
        headers=_headers(panels),
        methods=sorted({cell.method for cell in cells} - {NONE}),
        models=sorted({cell.model for cell in cells}),
        concepts=sorted({cell.concept for cell in cells}),
        scored=count(_scored(panels)),
        images=store is not None,
        covered=sum(cell.covered for row in rows for cell in row.cells if cell is not None),
        script=Markup(script),
        script_digest=digest,
        style=Markup(style),
    )


def _environment() -> jinja2.Environment:
    def finish(value: Any) -> Any:
        # Every text on the page passes here, so no template can forget it.
        plain = isinstance(value, str) and not isinstance(value, Markup)
        return visible(value, keep="\n") if plain else value

    environment = jinja2.Environment(
        loader=jinja2.PackageLoader("varbench.report"),
        autoescape=True,
        undefined=jinja2.StrictUndefined,
        trim_blocks=True,
        lstrip_blocks=True,
        finalize=finish,
        keep_trailing_newline=True,
    )
    environment.globals["missing"] = MISSING
    return environment


def _asset(environment: jinja2.Environment, name: str) -> str:
    assert environment.loader is not None
    return environment.loader.get_source(environment, name)[0].strip()


def _anchors(names: Sequence[str]) -> list[str]:
    """A link target per name: it stays the same when other results come to the page."""
    anchors = []
    uses: Counter[str] = Counter()
    for name in names:
        slug = re.sub(r"[^a-z0-9]+", "-", name.lower()).strip("-") or "panel"
        uses[slug] += 1
        anchors.append(slug if uses[slug] == 1 else f"{slug}-{uses[slug]}")
    return anchors


def _section(
    anchor: str,
    panel: Panel,
    cells: Sequence[CellRecord],
    images: ImageGrid | None,
    numbers: Mapping[str, int],
) -> dict[str, Any]:
    """All that the page's template shows of one panel, whose cells are `cells`."""
    columns = panel.cells_of(cells)
    tables = {
        name: panel_table(panel, name, percent=True, base=kind.base or kind.differences)
        for name, kind in TABLES.items()
    }
    tradeoffs = (tradeoff_svg(panel, metric, numbers) for metric in RETENTION)
    return {
        "anchor": anchor,
        "panel": panel,
        "results": tables.pop("main"),
        "folds": [table for table in tables.values() if table.rows and table.header],
        "plots": [Markup(svg) for svg in tradeoffs if svg is not None],
        "scales": [Markup(svg) for svg in scale_svgs(columns, numbers, panel.title)],
        "grids": [] if images is None else images.grids(columns),
        "sources": list(_sources(columns, cells)),
    }


def _headers(panels: Sequence[Panel]) -> list[Header]:
    """The heads of all tables' columns, each once, in the order of the tables."""
    kinds = [kind for kind in TABLES.values() if not kind.differences]
    shown = [c for panel in panels for kind in kinds for c in panel.of(*kind.tables)]
    once = {column.key: replace(column, percent=False) for column in shown}
    return [column.header() for column in once.values()]


def _scored(panels: Sequence[Panel]) -> int:
    """Images behind the page: over panels and methods, the largest pool behind a number."""
    return sum(
        max((value.n or 0 for value in row.values.values()), default=0)
        for panel in panels
        for row in panel.rows
    )


def _sources(
    columns: Sequence[tuple[str, CellRecord]], cells: Sequence[CellRecord]
) -> Iterator[dict[str, Any]]:
    """The provenance of each method and config: facts (name, value), and resolved settings."""
    for label, first in columns:
        seeds = [cell for cell in cells if cell.identity[:-1] == first.identity[:-1]]
        edit = ", ".join(str(c.seed) for c in seeds if c.seed is not None) or MISSING
        facts = [("config", first.config or MISSING), ("edit seeds", edit)]
        command = first.body.get("command") or MISSING
        facts += [("command", command if isinstance(command, str) else " ".join(command))]
        facts += _flat(first.body.get("method_config") or {}, "method")
        facts += _flat(first.body.get("provenance") or {})
        facts += _flat(first.body.get("seconds") or {}, "seconds")
        facts += [("cells", ", ".join(cell.key[:12] for cell in seeds))]
        resolved = first.body.get("resolved_config") or {}
        text = json.dumps(resolved, indent=2, sort_keys=True, ensure_ascii=False)
        yield {"label": label, "facts": facts, "resolved": text if resolved else ""}


def _flat(value: Any, name: str = "") -> list[tuple[str, str]]:
    """Nested mappings as ("a.b", "text") pairs, sorted."""
    if isinstance(value, Mapping):
        parts = ((f"{name}.{key}" if name else str(key), part) for key, part in value.items())
        return [pair for key, part in sorted(parts) for pair in _flat(part, key)]
    if isinstance(value, float):
        return [(name, f"{value:g}")]
    return [(name, value if isinstance(value, str) else json.dumps(value, ensure_ascii=False))]
