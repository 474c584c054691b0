"""The stored scores of images: as a DataFrame, and as what a page shows over an image."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from functools import cache, partial
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np

from varbench.metrics.nudity_protocols import CLASSES, FLOOR
from varbench.report.cells import CellRecord, Filters, load_cells, select
from varbench.store import Stage, Store
from varbench.store.failures import left_in

if TYPE_CHECKING:
    import pandas as pd

COLUMNS = (
    "model", "method", "config", "concept", "suite", "settings", "edit_seed", "group",
    "prompt_id", "seed", "prompt", "hit", "scorer", "score", "value", "file",
)  # fmt: skip
_DTYPES = {"edit_seed": "Int64", "seed": "Int64", "hit": "boolean", "value": "float64"}
_DETECTION = ("class", "score", "box", "size")


@dataclass(frozen=True)
class ImageScores:
    """The arrays of one scorer or comparer, a row per image that did not fail.

    Attributes:
        images: key of the images.
        rows: number of an image -> its row.
    """

    images: str
    scorer: str
    rows: dict[int, int]
    arrays: dict[str, Any]


def read_scores(
    store: Store, name: str, keep: Callable[[str], bool] = lambda array: True
) -> ImageScores | None:
    """The arrays to keep of an input of a cell ("stage/key"); None of one without scores."""
    stage, _, key = name.partition("/")
    entry = store.find(stage, key, verify=False) if stage in (Stage.SCORES, Stage.COMPARE) else None
    if entry is None:
        return None
    scored = stage == Stage.SCORES
    scorer = entry.spec["scorer"] if scored else entry.spec["comparer"][0]
    numbers = left_in(entry, len(entry.spec["prompts" if scored else "following"]))
    arrays = entry.arrays("scores.npz", keep)
    rows = {number: row for row, number in enumerate(numbers)}
    return ImageScores(entry.spec["pictures"], scorer, rows, arrays)


def scores_by_images(
    inputs: Iterable[str], read: Callable[[str], ImageScores | None]
) -> dict[str, list[ImageScores]]:
    """The scores among inputs of cells, by the key of their images; `read` gives those of one."""
    by_images: dict[str, list[ImageScores]] = {}
    for name in inputs:
        if (scores := read(name)) is not None:
            by_images.setdefault(scores.images, []).append(scores)
    return by_images


def load_images(path: str | Path) -> pd.DataFrame:
    """The images of a store with their scores, one row per image and score.

    Columns: `COLUMNS`. `seed` is the image seed, `hit` the judge's answer to the question whether
    the image shows the concept, and `file` the image's path (missing if it was deleted). `scorer`
    is the role of a scorer, comparer or judge, `score` the name of its number: for instance `clip`
    and `cosine`, or `judge` and `identity_p`, a judge's confidence. A judge's label is its number
    in the judge's list. An image without scores has one row without a value; images that failed
    have none.

    Args:
        path: the store's folder. Only files are read; nothing is scored.

    Raises:
        ReportError: the store holds no results.
    """
    import pandas as pd  # slow to load, and pages read scores, too

    store = Store(Path(path))
    read = cache(partial(read_scores, store))
    rows: list[tuple[Any, ...]] = []
    for cell in select(load_cells(store), Filters()):
        rows += _rows(store, cell, scores_by_images(cell.inputs, read))
    return pd.DataFrame(rows, columns=list(COLUMNS)).astype(_DTYPES)


def _rows(
    store: Store, cell: CellRecord, scores: Mapping[str, Sequence[ImageScores]]
) -> Iterator[tuple[Any, ...]]:
    names = ("model", "method", "config", "concept", "suite", "settings", "seed")
    labels = tuple(getattr(cell, name) for name in names)
    for group, images in cell.images.items():
        for image in images:
            entry = store.find(image.get("stage", Stage.IMAGES), image["key"], verify=False)
            file = None if entry is None else str(entry.path(image["file"]))
            number = int(Path(image["file"]).stem)
            about = (group, image["prompt_id"], image["seed"], image["prompt"], image["hit"])
            values: list[tuple[Any, ...]] = [
                v for one in scores.get(image["key"], ()) for v in _values(one, number)
            ]
            for value in values or [(None, None, None)]:
                yield (*labels, *about, *value, file)


def _values(scores: ImageScores, number: int) -> Iterator[tuple[str, str, float]]:
    """Scorer, name and value of the scores of an image."""
    row = scores.rows.get(number)
    for name, values in scores.arrays.items():
        # Features and boxes are no scores. NaN: there was nothing to compare the image with.
        if row is not None and values.ndim == 1 and not np.isnan(values[row]):
            yield scores.scorer, name, float(values[row])


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


def is_detection(array: str) -> bool:
    """True for the arrays of scores that `detections_in` reads."""
    return array.endswith("_p") or array in _DETECTION


def detections_in(image_scores: Iterable[ImageScores], number: int) -> ImageDetections:
    """The detections in image `number` of the entry that these are the scores of."""
    text: list[str] = []
    boxes: list[Box] = []
    for scores in image_scores:
        row = scores.rows.get(number)
        if row is not None:
            text += _confidences(scores.arrays, row)
            boxes += _boxes(scores.arrays, row)
    return ImageDetections(", ".join(text), tuple(boxes))


def _confidences(arrays: Mapping[str, Any], row: int) -> list[str]:
    """A judge's probability of its answer, by attribute."""
    return [
        f"{name.removesuffix('_p')} {float(values[row]):.2f}"
        for name, values in arrays.items()
        if name.endswith("_p") and values.ndim == 1
    ]


def _boxes(arrays: Mapping[str, Any], row: int) -> list[Box]:
    if not {*_DETECTION} <= arrays.keys():
        return []
    classes, confidences, places, size = (arrays[name][row] for name in _DETECTION)
    sides = np.maximum(1, [*size, *size])  # of the image, for x, y, width and height
    return [
        Box(
            CLASSES[int(number)].replace("_", " ").lower(),
            float(confidence),
            *(100 * place.astype(float) / sides).round(1).tolist(),
        )
        for number, confidence, place in zip(classes, confidences, places, strict=True)
        if 0 <= number < len(CLASSES) and confidence >= FLOOR
    ]
