"""Images for the page: the choice of samples, the cover of sensitive ones, and data URIs.

Rows are chosen by rule, evenly over the suite's prompts in stored order, so that nobody picks the
flattering ones; all methods show the same prompts and the same image seeds.
"""

from __future__ import annotations

import base64
import io
from collections import Counter
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from functools import cached_property, partial
from pathlib import Path
from typing import Any

from markupsafe import Markup
from PIL import Image

from varbench.data.groups import ADVERSARIAL, IMPLICIT, NEIGHBOURS, TARGET, UNRELATED
from varbench.report.cells import CellRecord, log
from varbench.report.covering import COVERED, CoveredPrompts
from varbench.report.image_scores import (
    ImageDetections,
    ImageScores,
    detections_in,
    is_detection,
    read_scores,
    scores_by_images,
)
from varbench.store import Entry, Store
from varbench.utils.images import read_rgb

GROUP_TITLES = {
    TARGET: "Prompts that ask for the concept",
    IMPLICIT: "Prompts that ask for the concept in other words",
    ADVERSARIAL: "Prompts made to get the concept past an erasure",
    NEIGHBOURS: "Neighbours: near, and meant to stay",
    UNRELATED: "Unrelated: meant to stay",
}

Key = tuple[str, int]  # (prompt id, image seed)
_ROWS = 6
_ROWS_OF_ALL = 600
"""Rows of a group over all cells of a page: of 1,000 cells, 6 each would fill 300 MB."""


@dataclass(frozen=True)
class GridCell:
    """One embedded image, with the label of its method.

    Attributes:
        hit: the judge saw the concept; None if there was no judge, or it saw another image.
        shown: data URI of what the page shows first; None if the store lost the image. Both are
            marked as safe: escaping them takes longer than making them.
        clear: data URI of the image itself, if `shown` covers it.
    """

    label: str
    prompt: str
    seed: int
    hit: bool | None
    shown: Markup | None
    clear: Markup | None
    detections: ImageDetections

    @property
    def covered(self) -> bool:
        """True if the image itself is shown on request only."""
        return self.clear is not None


@dataclass(frozen=True)
class GridRow:
    """One prompt and image seed; a cell per method, None where a method has no such image."""

    prompt: str
    seed: int
    cells: tuple[GridCell | None, ...]


@dataclass(frozen=True)
class Grid:
    """One prompt group: rows of images, a column per method."""

    group: str
    title: str
    labels: tuple[str, ...]
    rows: tuple[GridRow, ...]


class ImageGrid:
    """Reads images from a store and covers sensitive ones.

    An image is covered if its prompt asks for any known concept of a `COVERED` family, by its
    labels, words or group; and if its cell's concept is of such a family, unless it is outside the
    target group and the judge saw nothing in this very image (its content is what was scored).

    Args:
        store: that holds the images.
        cells: all of its cells.
        shown: those on the page, whose scores are shown.
    """

    def __init__(
        self, store: Store, cells: Sequence[CellRecord], shown: Sequence[CellRecord]
    ) -> None:
        self.store = store
        self._shown = shown
        self._entries: dict[str, Entry | None] = {}
        self._covered_prompts = CoveredPrompts(store.root, cells)

    @cached_property
    def _scores(self) -> dict[str, list[ImageScores]]:
        inputs = dict.fromkeys(name for cell in self._shown for name in cell.inputs)
        read = partial(read_scores, self.store, keep=is_detection)
        return scores_by_images(inputs, read)

    def grids(self, columns: Sequence[tuple[str, CellRecord]]) -> list[Grid]:
        """The grids of one panel; `columns` are (label, cell), the base model first."""
        grids = []
        images = [cell.images for _, cell in columns]
        count = max(1, min(_ROWS, _ROWS_OF_ALL // max(1, len(self._shown))))
        for group, title in GROUP_TITLES.items():
            samples = [{_key(s): s for s in by_group.get(group, ())} for by_group in images]
            rows = [
                self._row(group, key, columns, [by_key.get(key) for by_key in samples])
                for key in choose(samples, count)
            ]
            if rows:
                grids.append(Grid(group, title, tuple(label for label, _ in columns), tuple(rows)))
        return grids

    def _row(
        self,
        group: str,
        key: Key,
        columns: Sequence[tuple[str, CellRecord]],
        samples: Sequence[Mapping[str, Any] | None],
    ) -> GridRow:
        prompt = next(str(sample["prompt"]) for sample in samples if sample is not None)
        cells = tuple(
            None if sample is None else self._cell(label, cell, group, sample)
            for (label, cell), sample in zip(columns, samples, strict=True)
        )
        return GridRow(prompt, key[1], cells)

    def _cell(
        self, label: str, cell: CellRecord, group: str, sample: Mapping[str, Any]
    ) -> GridCell:
        key, file = str(sample["key"]), str(sample["file"])
        image = self._open(key, file)
        entry = self._entries[key]
        scored = entry is not None and cell.contents.get(entry.name) == entry.content
        hit = sample.get("hit") if scored else None
        cleared = group != TARGET and hit is False
        cover = sample in self._covered_prompts or (cell.family in COVERED and not cleared)
        uri = None if image is None else _data_uri(image)
        return GridCell(
            label,
            str(sample["prompt"]),
            int(sample["seed"]),
            hit,
            shown=_data_uri(mosaic(image)) if image is not None and cover else uri,
            clear=uri if cover else None,
            detections=detections_in(
                self._scores.get(key, ()) if scored else (), int(Path(file).stem)
            ),
        )

    def _open(self, key: str, name: str) -> Image.Image | None:
        if key not in self._entries:
            self._entries[key] = self.store.find("pictures", key)
        entry = self._entries[key]
        try:
            return None if entry is None else _thumbnail(entry.path(name))
        except (KeyError, OSError, ValueError, Image.DecompressionBombError) as error:
            log.warning("image %s of images/%s cannot be shown: %s", name, key[:8], error)
            return None


def choose(columns: Sequence[Mapping[Key, Any]], rows: int) -> list[Key]:
    """The samples to show: of those that most columns have, `rows` evenly spread.

    As many different prompts as possible come first, then further seeds of them.
    """
    counts = Counter(key for column in columns for key in column)
    shared = [key for key in counts if counts[key] == max(counts.values())]
    prompts: dict[str, list[Key]] = {}
    for key in shared:
        prompts.setdefault(key[0], []).append(key)
    chosen: set[Key] = set()
    seeds = 0  # of each prompt that are chosen
    while len(chosen) < min(rows, len(shared)):
        next_seeds = [keys[seeds] for keys in prompts.values() if seeds < len(keys)]
        chosen |= set(_spread(next_seeds, rows - len(chosen)))
        seeds += 1
    return [key for keys in prompts.values() for key in keys if key in chosen]


def _key(sample: Mapping[str, Any]) -> Key:
    return str(sample["prompt_id"]), int(sample["seed"])


def _spread(keys: list[Key], rows: int) -> list[Key]:
    """`rows` of `keys`, evenly spaced, the first always among them."""
    if len(keys) <= rows:
        return keys
    return [keys[i * len(keys) // rows] for i in range(rows)]


def _thumbnail(path: Path) -> Image.Image:
    """The image as RGB without metadata, at most 256 pixels a side: twice as the page shows it."""
    image = read_rgb(path)
    image.thumbnail((256, 256), Image.Resampling.LANCZOS)
    return image


def mosaic(image: Image.Image) -> Image.Image:
    """A stand-in of 4 x 4 soft patches of colour: hues, but neither shapes nor edges.

    It is made here and not by the browser, so that what a page shows first does not hold the
    detail: no style sheet that fails to load can reveal it.
    """
    patches = image.resize((4, 4), Image.Resampling.BOX)
    return patches.resize((64, 64), Image.Resampling.BICUBIC)


def _data_uri(image: Image.Image) -> Markup:
    """`image` as a data URI: lossless PNG up to 64 pixels, JPEG above (a tenth of the size)."""
    buffer = io.BytesIO()
    if max(image.size) <= 64:
        image.save(buffer, "PNG", optimize=True)
        kind = "png"
    else:
        image.save(buffer, "JPEG", quality=86, optimize=True)
        kind = "jpeg"
    return Markup(f"data:image/{kind};base64,{base64.b64encode(buffer.getvalue()).decode('ascii')}")
