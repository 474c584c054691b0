"""The scores of an image, for hovering over it: detectors' boxes, a judge's confidence."""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass
from typing import Any

import numpy as np

from varbench.metrics.nudity_protocols import CLASSES, FLOOR
from varbench.report.cells import CellRecord
from varbench.store import Store
from varbench.store.failures import left_in

_DETECTION = ("class", "score", "box", "size")
_Scores = tuple[list[int], dict[str, Any]]  # numbers of the images, and arrays with a row of each


@dataclass(frozen=True)
class Box:
    """A detection; place and size in per cent of the image."""

    name: str
    score: float
    left: float
    top: float
    width: float
    height: float


@dataclass(frozen=True)
class ImageDetections:
    """A judge's confidences in a line of text, and a detector's boxes; empty where none scored."""

    text: str = ""
    boxes: tuple[Box, ...] = ()


class ScoreBook:
    """Finds the stored scores of images.

    Args:
        store: that holds them.
        cells: whose scores; only those are read.
    """

    def __init__(self, store: Store, cells: Iterable[CellRecord]) -> None:
        self._store = store
        self._keys = list(
            dict.fromkeys(
                name.partition("/")[2]
                for cell in cells
                for name in cell.body.get("inputs") or ()
                if name.startswith("scores/")
            )
        )
        self._by_images: dict[str, list[_Scores]] | None = None

    def of(self, images: str, index: int) -> ImageDetections:
        """The scores of image `index` of the entry with key `images`."""
        if self._by_images is None:
            self._by_images = self._read()
        text: list[str] = []
        boxes: list[Box] = []
        for numbers, arrays in self._by_images.get(images, ()):
            if index in numbers:
                boxes += _boxes(arrays, numbers.index(index))
                text += _confidences(arrays, numbers.index(index))
        return ImageDetections(", ".join(text), tuple(boxes))

    def _read(self) -> dict[str, list[_Scores]]:
        by_images: dict[str, list[_Scores]] = {}
        for key in self._keys:
            entry = self._store.find("scores", key, verify=False)
            if entry is None or "scores.npz" not in entry.files or "pictures" not in entry.spec:
                continue
            with np.load(entry.path("scores.npz"), allow_pickle=False) as arrays:
                names = [n for n in arrays.files if n.endswith("_p") or n in _DETECTION]
                shown = {name: arrays[name] for name in names}
            if shown:
                numbers = left_in(entry, len(entry.spec["prompts"]))
                by_images.setdefault(str(entry.spec["pictures"]), []).append((numbers, shown))
        return by_images


def _confidences(arrays: dict[str, Any], index: int) -> list[str]:
    """A judge's probability of its answer, by attribute."""
    return [
        f"{name.removesuffix('_p')} {float(values[index]):.2f}"
        for name, values in arrays.items()
        if name.endswith("_p") and values.ndim == 1 and index < len(values)
    ]


def _boxes(arrays: dict[str, Any], index: int) -> list[Box]:
    if not {*_DETECTION} <= arrays.keys() or index >= len(arrays["size"]):
        return []
    width, height = (max(1, int(side)) for side in arrays["size"][index])
    boxes = []
    for number, score, box in zip(
        arrays["class"][index], arrays["score"][index], arrays["box"][index], strict=True
    ):
        if number < 0 or score < FLOOR or number >= len(CLASSES):
            continue
        x, y, w, h = (float(part) for part in box)
        places = (100 * x / width, 100 * y / height, 100 * w / width, 100 * h / height)
        name = CLASSES[int(number)].replace("_", " ").lower()
        boxes.append(Box(name, float(score), *(round(place, 1) for place in places)))
    return boxes
