"""Installed packages as importlib.metadata sees them: files and a dist-info folder on the path."""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path

EntryPoints = Mapping[str, Mapping[str, str]]
"""Group -> name -> target."""


def install(
    site: Path,
    name: str,
    files: Mapping[str, str],
    entry_points: EntryPoints,
    version: str = "0.1",
) -> None:
    """Put a distribution into a folder, as `pip install --target` would."""
    info = f"{name}-{version}.dist-info"
    lines = []
    for group, targets in entry_points.items():
        lines += [f"[{group}]", *(f"{key} = {target}" for key, target in targets.items()), ""]
    described = {
        f"{info}/METADATA": f"Metadata-Version: 2.1\nName: {name}\nVersion: {version}\n",
        f"{info}/entry_points.txt": "\n".join(lines),
    }
    for path, text in {**files, **described}.items():
        place = site / path
        place.parent.mkdir(parents=True, exist_ok=True)
        place.write_text(text, encoding="utf-8")
