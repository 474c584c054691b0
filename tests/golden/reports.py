"""The reports that are frozen, and how what hangs on a machine is taken out of them."""

from __future__ import annotations

import re
from pathlib import Path
from typing import Any

import numpy as np
from typer.testing import CliRunner

from varbench.cli import app
from varbench.store import Store

_FORMS = {"table": "txt", "md": "md", "latex": "tex"}
_TABLES = ("main", "difference", "drift", "robustness", "cost")
REPORTS: dict[str, list[str]] = {
    **{f"all.{end}": ["--format", form] for form, end in _FORMS.items()},
    "all.csv": ["--format", "csv"],
    "joint.json": ["--format", "json", "--concept", "church of face-ada+church"],
    **{f"{one}.txt": ["--table", one] for one in _TABLES},
    **{
        f"paper.{end}": ["--table", "paper", "--format", form]
        for form, end in (("md", "md"), ("csv", "csv"), ("latex", "tex"), ("html", "html"))
    },
    **{
        f"ablation.{end}": ["--ablation", "own-scale", "--format", form]
        for form, end in (("table", "txt"), ("md", "md"), ("csv", "csv"), ("latex", "tex"))
    },
    "some.md": ["--format", "md", "--method", "sld", "--concept", "face-ada", "--metric", "acc_e"],
    "reported.md": ["--format", "md", "--table", "main", "--reported"],
    "reported.tex": ["--format", "latex", "--table", "paper", "--reported"],
    "page.html": ["--out", "report"],
}
"""File -> options of `varbench report`; with `--out` it is the page."""


def report_text(options: list[str], folder: Path) -> str:
    """A report on the store in a folder, as it is frozen."""
    given = [str(folder / one) if one == "report" else one for one in options]
    args = ["report", "--store", str(folder / "store"), *given]
    done = CliRunner().invoke(app, args)
    assert done.exit_code == 0, (args, done.output, done.exception)
    page = folder / "report" / "index.html"
    text = page.read_text(encoding="utf-8") if "--out" in options else done.stdout
    return normalised(text.replace(str(folder), "FOLDER"))


def normalised(text: str) -> str:
    """Without images, scripts and styles, and without what a machine or a time decides.

    What a report says of commit, device and versions comes from the frozen store and stays.
    """
    text = re.sub(r"data:[a-z]+/[a-z0-9.+-]+;base64,[A-Za-z0-9+/=]+", "DATA", text)
    text = re.sub(r"sha256-[A-Za-z0-9+/=]+", "SHA256", text)
    return re.sub(r"(?s)<(script|style)\b([^>]*)>.*?</\1>", r"<\1\2></\1>", text)


def cells_of(store: Path) -> dict[str, dict[str, Any]]:
    """By key, all that a store has of every cell, except what a machine or a commit decides."""
    cells = {}
    for entry in Store(store).entries("cell"):
        cell = entry.json("cell.json")
        for name in ("commit", "versions", "device"):
            del cell["provenance"][name]
        meta = {
            name: value for name, value in entry.meta.items() if name not in ("origin", "inputs")
        }
        with np.load(entry.path("rows.npz"), allow_pickle=False) as arrays:
            rows = {name: array.tolist() for name, array in arrays.items()}
        cells[entry.key] = {**cell, "meta": meta, "rows": rows}
    return dict(sorted(cells.items()))
