"""Images for the page: which ones to show, which to cover, and how they are embedded.

Rows are chosen by rule, evenly over the suite's prompts in stored order, so that nobody picks the
flattering ones; all methods show the same prompts and the same image seeds.
"""

from __future__ import annotations

import base64
import io
import logging
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from PIL import Image

from varbench.data.groups import ADVERSARIAL, ASKING, IMPLICIT, NEIGHBOURS, TARGET, UNRELATED
from varbench.report.detections import ImageDetections, ScoreBook
from varbench.report.records import BASE, Cell
from varbench.store import Entry, Store

# Families whose images no page shows without being asked.
COVERED = frozenset({"nudity"})
GROUP_TITLES = {
    TARGET: "Prompts that ask for the concept",
    IMPLICIT: "Prompts that ask for the concept in other words",
    ADVERSARIAL: "Prompts made to get the concept past an erasure",
    NEIGHBOURS: "Neighbours: near, and meant to stay",
    UNRELATED: "Unrelated: meant to stay",
}
ROWS = 6  # per group
_LARGEST = 256  # pixels a side; a page shows them at half of that
_MOSAIC = 4  # colour patches a side of a covered image: hues, but neither shapes nor edges

Key = tuple[str, int]  # (prompt id, image seed)

log = logging.getLogger("varbench.report")


@dataclass(frozen=True)
class GridCell:
    """One embedded image. `shown` and `clear` are data URIs; `clear` only if it is covered."""

    label: str
    prompt: str
    seed: int
    hit: bool | None  # did the judge see the concept?
    shown: str | None  # None: the image is not in the store any more
    clear: str | None
    seen: ImageDetections

    @property
    def covered(self) -> bool:
        """Whether the page has to be asked for the clear image."""
        return self.clear is not None


@dataclass(frozen=True)
class GridRow:
    """One prompt and image seed; a shot per method, None where a method has no such image."""

    prompt: str
    seed: int
    shots: tuple[GridCell | None, ...]


@dataclass(frozen=True)
class Grid:
    """One prompt group: rows of images, a column per method."""

    group: str
    title: str
    labels: tuple[str, ...]
    rows: tuple[GridRow, ...]


class ImageGrid:
    """Reads images from a store and covers those that must not be seen unasked.

    An image is covered if its cell's concept is of a `COVERED` family, unless it is outside the
    target group and the judge looked at it and saw nothing; and if its prompt asks for a covered
    concept of any cell, since the target prompts of one concept may be unrelated ones of another.

    Args:
        store: that holds the images.
        cells: all of its cells.
        shown: those on the page, whose scores are told.
    """

    def __init__(self, store: Store, cells: Sequence[Cell], shown: Sequence[Cell]) -> None:
        self.store = store
        self._entries: dict[str, Entry | None] = {}
        self._scores = ScoreBook(store, shown)
        self._covered_prompts = {
            shot["prompt_id"]
            for cell in cells
            if is_covered(cell)
            for group in ASKING
            for shot in _group(cell, group)
        }

    def grids(self, columns: Sequence[tuple[str, Cell]]) -> list[Grid]:
        """The grids of one panel; `columns` are (label, cell), the unerased model first."""
        grids = []
        for group, title in GROUP_TITLES.items():
            shots = [{_key(s): s for s in _group(cell, group)} for _, cell in columns]
            rows = [
                self._row(group, key, columns, [by_key.get(key) for by_key in shots])
                for key in choose(shots, ROWS)
            ]
            if rows:
                grids.append(Grid(group, title, tuple(label for label, _ in columns), tuple(rows)))
        return grids

    def _row(
        self,
        group: str,
        key: Key,
        columns: Sequence[tuple[str, Cell]],
        found: Sequence[Mapping[str, Any] | None],
    ) -> GridRow:
        prompt = next(str(s["prompt"]) for s in found if s is not None)
        shots = tuple(
            None if shot is None else self._shot(label, cell, group, shot)
            for (label, cell), shot in zip(columns, found, strict=True)
        )
        return GridRow(prompt, key[1], shots)

    def _shot(self, label: str, cell: Cell, group: str, shot: Mapping[str, Any]) -> GridCell:
        hit = shot.get("hit")
        looked_and_saw_nothing = group != TARGET and hit is False
        cover = shot["prompt_id"] in self._covered_prompts or (
            is_covered(cell) and not looked_and_saw_nothing
        )
        image = self._open(str(shot["key"]), str(shot["file"]))
        shown = clear = None
        if image is not None:
            clear = data_uri(image)
            shown = data_uri(mosaic(image)) if cover else clear
        seen = self._scores.of(str(shot["key"]), int(Path(str(shot["file"])).stem))
        prompt, seed = str(shot["prompt"]), int(shot["seed"])
        return GridCell(label, prompt, seed, hit, shown, clear if cover else None, seen)

    def _open(self, key: str, name: str) -> Image.Image | None:
        if key not in self._entries:
            self._entries[key] = self.store.find("pictures", key, verify=False)
        entry = self._entries[key]
        try:
            return None if entry is None else thumbnail(entry.path(name))
        except (KeyError, OSError, ValueError, Image.DecompressionBombError) as error:
            log.warning("image %s of images/%s cannot be shown: %s", name, key[:8], error)
            return None


def is_covered(cell: Cell) -> bool:
    """Whether the images of a cell belong to a family that is covered; `a+b` if either does."""
    return any(part.strip() in COVERED for part in cell.family.replace(",", "+").split("+"))


def choose(shots: Sequence[Mapping[Key, Any]], rows: int) -> list[Key]:
    """The (prompt, seed) keys to show: of those that most columns have, `rows` evenly spread.

    As many different prompts as there are come first, then further seeds of them.
    """
    keys = dict.fromkeys(key for by_key in shots for key in by_key)
    have = {key: sum(key in by_key for by_key in shots) for key in keys}
    full = [key for key in keys if have[key] == max(have.values())]
    prompts: dict[str, list[Key]] = {}
    for key in full:
        prompts.setdefault(key[0], []).append(key)
    chosen: set[Key] = set()
    turn = 0
    while len(chosen) < min(rows, len(full)):
        left = [keys[turn] for keys in prompts.values() if turn < len(keys)]
        chosen |= set(_spread(left, rows - len(chosen)))
        turn += 1
    return [key for keys in prompts.values() for key in keys if key in chosen]


def thumbnail(path: Path) -> Image.Image:
    """The image as RGB without metadata, at most 256 pixels a side."""
    with Image.open(path) as opened:
        image = opened.convert("RGB")
    image.thumbnail((_LARGEST, _LARGEST), Image.Resampling.LANCZOS)
    return image


def mosaic(image: Image.Image) -> Image.Image:
    """A stand-in that keeps only a few soft patches of colour, whatever the image's size.

    It is made here and not by the browser, so that what a page shows unasked does not hold the
    detail: no style sheet that fails to load can reveal it.
    """
    patches = image.resize((_MOSAIC, _MOSAIC), Image.Resampling.BOX)
    return patches.resize((64, 64), Image.Resampling.BICUBIC)


def data_uri(image: Image.Image) -> str:
    """`image` as a data URI: lossless PNG up to 64 pixels, JPEG above (a tenth of the size)."""
    buffer = io.BytesIO()
    if max(image.size) <= 64:
        image.save(buffer, "PNG", optimize=True)
        kind = "png"
    else:
        image.save(buffer, "JPEG", quality=86, optimize=True)
        kind = "jpeg"
    return f"data:image/{kind};base64,{base64.b64encode(buffer.getvalue()).decode('ascii')}"


def image_of(uri: str) -> Image.Image:
    """The image in a data URI, as RGB."""
    with Image.open(io.BytesIO(base64.b64decode(uri.partition(",")[2]))) as opened:
        return opened.convert("RGB")


def columns_of(
    cells: Sequence[Cell], labels: Mapping[tuple[str, str], str]
) -> list[tuple[str, Cell]]:
    """(label, cell) per method and config, of several edit seeds the lowest; the base first."""
    first: dict[tuple[str, str], Cell] = {}
    for cell in sorted(cells, key=lambda cell: cell.identity):
        first.setdefault((cell.method, cell.config), cell)
    ordered = sorted(first.items(), key=lambda item: (item[0][0] != BASE, item[0]))
    return [(labels.get(name, name[0]), cell) for name, cell in ordered]


def _group(cell: Cell, group: str) -> Sequence[Mapping[str, Any]]:
    found: Sequence[Mapping[str, Any]] = (cell.body.get("pictures") or {}).get(group) or ()
    return found


def _key(shot: Mapping[str, Any]) -> Key:
    return str(shot["prompt_id"]), int(shot["seed"])


def _spread(keys: list[Key], rows: int) -> list[Key]:
    """`rows` of `keys`, evenly spaced, the first always among them."""
    if len(keys) <= rows:
        return keys
    return [keys[i * len(keys) // rows] for i in range(rows)]
