"""A store as a run writes it, with made-up numbers and images, and a report's page as read."""

from __future__ import annotations

import base64
import json
from collections.abc import Sequence
from html.parser import HTMLParser
from io import BytesIO
from pathlib import Path
from typing import Any

from PIL import Image

from varbench.metrics.record import MetricRecord
from varbench.metrics.stats.paired_samples import PairedSamples
from varbench.metrics.stats.row_files import write_rows
from varbench.report import Filters, load_cells, records_of, select, write_views
from varbench.report.panels import build_panels
from varbench.report.tables import panel_table
from varbench.store import INPUTS, Store, digest

HOSTILE = "<script>alert('x')</script> \"ada\" & \u202eevil\u202c {{ 7 * 7 }} \x1b[31m"
RED, BLUE = (200, 30, 20), (20, 40, 200)
# method -> metric -> (value, low, high); the base model's values are the baselines
NUMBERS: dict[str, dict[str, tuple[float | None, float | None, float | None]]] = {
    "none": {"acc_e": (0.96, 0.93, 0.98), "acc_n": (0.95, 0.92, 0.97), "acc_u": (0.98, 0.96, 0.99)},
    "naive": {
        "erasure_rate": (0.92, 0.88, 0.95), "acc_e": (0.08, 0.05, 0.12),
        "acc_n": (0.81, 0.76, 0.85), "acc_u": (0.91, 0.88, 0.93), "fid_base": (10.6, None, None),
    },
    "svare": {
        "erasure_rate": (0.94, 0.90, 0.96), "acc_e": (0.06, 0.03, 0.10),
        "acc_n": (0.96, 0.93, 0.98), "acc_u": (0.91, 0.88, 0.93), "kid_base": (0.01234, 0.01, 0.02),
    },
}  # fmt: skip


def put_images(store: Store, name: str, colour: tuple[int, int, int], count: int = 4) -> str:
    """An entry of `count` images with a hard edge, so that covering can be told from showing."""
    spec = {"block": name}
    with store.write("pictures", spec) as writer:
        for index in range(count):
            image = Image.new("RGB", (64, 64), colour)
            image.paste((255, 255, 255), (index, 20, 30, 40))
            image.save(writer.dir / f"{index:03d}.png")
    return digest(spec)


def put_edit(store: Store, name: str, **meta: Any) -> str:
    """An edit with an empty log; `meta` is what its making cost. Returns its key."""
    spec = {"edit": name}
    with store.write("edit", spec) as writer:
        (writer.dir / "log.jsonl").write_text("")
        writer.meta |= meta
    return digest(spec)


def a_record(method: str, metric: str, **changes: Any) -> dict[str, Any]:
    """A record as a cell has it."""
    return {
        "model": "gallery", "method": method, "config": f"{method:0<8.8}", "concept": "face-ada",
        "suite": "smoke", "prompt_set": "gallery-faces", "metric": metric, "seed": 0,
        "value": 0.5, "ci_low": 0.0, "ci_high": 1.0, "n": 200, "n_failed": 1, "baseline": None,
        "status": "measured", "difference": None, **changes,
    }  # fmt: skip


def put_cell(store: Store, method: str, seed: int | None = 0, **changes: Any) -> dict[str, Any]:
    """A cell as a run writes it, with two prompts x two image seeds per group.

    Args:
        store: to write it into.
        method: it is of; a key of `NUMBERS` decides its records.
        seed: the edit seed.
        changes: fields of the cell, or `shift` (of all numbers), `prompt` (before each prompt's
            number), `rows` (the paired samples), `images` (by group) and `spec` (more of its spec).
    """
    concept, family = changes.pop("concept", "face-ada"), changes.pop("family", "celebrity")
    shift, prompt = changes.pop("shift", 0.0), changes.pop("prompt", "a photo of ada")
    spec = {"concept": concept, "method": method, "seed": seed, **changes.pop("spec", {})}
    rows: dict[str, PairedSamples] = changes.pop("rows", {})
    same = {"config": f"{method:0<8.8}", "concept": concept}
    records = []
    for metric, (value, low, high) in NUMBERS.get(method, {}).items():
        base = NUMBERS["none"].get(metric, (None,))[0]
        difference = None
        if base is not None and value is not None and method != "none":
            by = value + shift - base
            difference = {"value": by, "low": by - 0.02, "high": by + 0.02}
        ends = [None if x is None else x + shift for x in (value, low, high)]
        numbers = {"value": ends[0], "ci_low": ends[1], "ci_high": ends[2], "baseline": base}
        records.append(
            a_record(method, metric, seed=seed, difference=difference, **same, **numbers)
        )
    images: dict[str, list[dict[str, Any]]] = {}
    given = changes.pop("images", None)
    for group in ("target", "neighbours", "unrelated"):
        colour = RED if group == "target" else BLUE
        key = put_images(store, f"{concept}/{method}/{group}", colour)
        images[group] = [
            {"prompt": f"{prompt} {group} {i // 2}", "prompt_id": f"{concept}{group}{i // 2}"}
            | {"seed": i % 2, "key": key, "file": f"{i:03d}.png"}
            | {"hit": group == "target" and method == "none"}
            for i in range(4)
        ]
    cell = {
        **same, "model": "gallery", "method": method, "suite": "smoke", "seed": seed,
        "schema": 1, "embedded": True, "family": family,
        "method_config": {"lr": 1e-4}, "resolved_config": {"method": {"name": method}},
        "command": ["varbench", "run", "--method", method], "seconds": {"edit": 12.5},
        "provenance": {"model": {"sha256": "ab" * 32}, "versions": {"torch": "2.13"}},
        "records": records, "pictures": images if given is None else given, **changes,
    }  # fmt: skip
    keys = dict.fromkeys(i["key"] for group in cell["pictures"].values() for i in group)
    inputs = [store.find("pictures", key) for key in keys]
    cell.setdefault("inputs", [f"pictures/{key}" for key in keys])
    with store.write("cell", spec) as writer:
        writer.meta[INPUTS] = {entry.name: entry.content for entry in inputs if entry is not None}
        (writer.dir / "cell.json").write_text(json.dumps(cell, indent=1))
        write_rows(writer.dir / "rows.npz", rows)
    return cell


def write_report(store: Store, out: Path, filters: Filters | None = None) -> list[Path]:
    """Reports on the cells of a store that `filters` accept; the page is the last file."""
    every = load_cells(store)
    cells = select(every, filters or Filters())
    records = records_of(cells)
    return write_views(records, cells, out, store=store, all_cells=every)


def table_text(
    records: Sequence[MetricRecord], name: str = "main", *, percent: bool = False
) -> dict[str, dict[str, str]]:
    """A table of the only panel of records as text, by method and head of the column."""
    (panel,) = build_panels(records)
    table = panel_table(panel, name, percent=percent)
    return {
        label: dict(zip(table.headers()[1:], texts, strict=True)) for label, *texts in table.texts()
    }


class Page(HTMLParser):
    """All start tags of a page, as a browser would see them, and its text."""

    def __init__(self, text: str) -> None:
        super().__init__()
        self.tags: list[tuple[str, dict[str, str]]] = []
        self.text = ""
        self.feed(text)

    def handle_starttag(self, tag: str, attrs: Sequence[tuple[str, str | None]]) -> None:
        self.tags.append((tag, {name: value or "" for name, value in attrs}))

    def handle_data(self, data: str) -> None:
        self.text += data

    def all(self, tag: str, css: str = "") -> list[dict[str, str]]:
        """The attributes of all tags of a name, and of a class if one is given."""
        attributes = [attrs for name, attrs in self.tags if name == tag]
        return [a for a in attributes if not css or css in a.get("class", "").split()]


def page_of(store: Store, out: Path, filters: Filters | None = None) -> Page:
    """The page of a store."""
    path = write_report(store, out, filters)[-1]
    return Page(path.read_text(encoding="utf-8"))


def image_in(uri: str) -> Image.Image:
    """The image in a data URI."""
    return Image.open(BytesIO(base64.b64decode(uri.split(",", 1)[1])))
