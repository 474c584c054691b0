"""The provenance of a page's numbers by method: command, settings, versions and times."""

from __future__ import annotations

import json
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

from varbench.report.cells import CellRecord
from varbench.report.image_grid import columns_of
from varbench.report.text import MISSING


@dataclass(frozen=True)
class Source:
    """The provenance of one method's numbers: (name, value) facts, and the resolved settings."""

    label: str
    facts: tuple[tuple[str, str], ...]
    resolved: str


def sources_of(cells: Sequence[CellRecord], labels: Mapping[tuple[str, str], str]) -> list[Source]:
    """The provenance of each method: one entry per config, its seeds together."""
    sources = []
    for label, first in columns_of(cells, labels):
        seeds = [c for c in cells if (c.method, c.config) == (first.method, first.config)]
        edit = ", ".join(str(c.seed) for c in seeds if c.seed is not None) or MISSING
        facts = [("config", first.config or MISSING), ("edit seeds", edit)]
        facts += [("command", _command(first.body.get("command")))]
        facts += _flat(first.body.get("method_config") or {}, "method")
        facts += _flat(first.body.get("provenance") or {})
        facts += _flat(first.body.get("seconds") or {}, "seconds")
        facts += [("cells", ", ".join(cell.key[:12] for cell in seeds))]
        resolved = first.body.get("resolved_config") or {}
        text = json.dumps(resolved, indent=2, sort_keys=True, ensure_ascii=False)
        sources.append(Source(label, tuple(facts), text if resolved else ""))
    return sources


def _command(command: Any) -> str:
    return " ".join(map(str, command)) if isinstance(command, list) else str(command or MISSING)


def _flat(value: Any, name: str = "") -> list[tuple[str, str]]:
    """Nested mappings as ("a.b", "text") pairs, sorted."""
    if isinstance(value, Mapping):
        parts = ((f"{name}.{key}" if name else str(key), part) for key, part in value.items())
        return [pair for key, part in sorted(parts) for pair in _flat(part, key)]
    if isinstance(value, float):
        return [(name, f"{value:g}")]
    return [(name, value if isinstance(value, str) else json.dumps(value, ensure_ascii=False))]
