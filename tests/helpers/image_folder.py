"""Folders of images as another program leaves them, for tests."""

from __future__ import annotations

import csv
import io
from collections.abc import Iterable, Mapping
from pathlib import Path
from typing import Any

import numpy as np
from PIL import Image

from tests.helpers.cli import varbench
from varbench.data.concept_files import load_concept
from varbench.store import Store

Row = dict[str, str]
HEADER = ("file", "prompt", "seed", "group")
CONCEPT = load_concept("face-ada")
TARGETS = [prompt.text for prompt in CONCEPT.group("target")[:3]]
OTHERS = [prompt.text for prompt in CONCEPT.group("unrelated")[:2]]


def noise(seed: int, *, size: tuple[int, int] = (64, 64), form: str = "PNG", **how: Any) -> bytes:
    """An image of noise as a file's bytes."""
    pixels = np.random.default_rng(seed).integers(0, 256, (size[1], size[0], 3), dtype=np.uint8)
    out = io.BytesIO()
    Image.fromarray(pixels).save(out, form, **how)
    return out.getvalue()


def write_manifest(folder: Path, rows: Iterable[Row], header: Iterable[str] = HEADER) -> Path:
    """`manifest.csv` with these columns of the rows."""
    folder.mkdir(parents=True, exist_ok=True)
    path = folder / "manifest.csv"
    with path.open("w", encoding="utf-8", newline="") as file:
        writer = csv.DictWriter(file, list(header), extrasaction="ignore")
        writer.writeheader()
        writer.writerows(rows)
    return path


def noise_folder(folder: Path, prompts: Iterable[str], seeds: int = 2) -> list[Row]:
    """Images of noise for every prompt and seed, with their manifest, whose rows are returned."""
    rows = []
    for i, prompt in enumerate(prompts):
        for seed in range(seeds):
            row = {"file": f"{i}-{seed}.png", "prompt": prompt, "seed": str(seed), "group": ""}
            folder.mkdir(parents=True, exist_ok=True)
            (folder / row["file"]).write_bytes(noise(100 * i + seed))
            rows.append(row)
    write_manifest(folder, rows, HEADER[:3])
    return rows


def export_cell(store: Store, cell: Mapping[str, Any], folder: Path) -> list[Row]:
    """The images of a run's cell as files, without a manifest; the rows of one."""
    rows = []
    for group, images in cell["pictures"].items():
        for i, image in enumerate(images):
            entry = store.find("pictures", image["key"])
            assert entry is not None
            path = folder / group / f"{i}.png"
            path.parent.mkdir(parents=True, exist_ok=True)
            path.write_bytes(entry.path(image["file"]).read_bytes())
            name = path.relative_to(folder).as_posix()
            rows.append(
                {
                    "file": name,
                    "prompt": image["prompt"],
                    "seed": str(image["seed"]),
                    "group": group,
                }
            )
    return rows


def score(folder: Path, store: Path, *more: str | Path) -> Any:
    given = more if "--method" in more else ("--method", "none", *more)
    return varbench("score", folder, "--concept", "face-ada", "--store", store, *given)


def cells(store: Path) -> dict[str, Any]:
    found = [entry.json("cell.json") for entry in Store(store).entries("cell")]
    return {f"{cell['model']}/{cell['method']}": cell for cell in found}


def entries(store: Path) -> set[str]:
    return {p.parent.name for p in store.rglob("manifest.json")}


def refused(done: Any, store: Path) -> str:
    """The error, after which nothing is in the store."""
    assert done.exit_code == 2, done.output
    assert not entries(store), "nothing is scored or taken before everything is checked"
    message: str = done.stderr
    return message
