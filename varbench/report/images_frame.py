"""One row per image and score: the images of a store as a DataFrame."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from functools import cache
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np
import pandas as pd

from varbench.report.cells import CellRecord, Filters, load_cells, select
from varbench.store import Stage, Store
from varbench.store.failures import left_in

COLUMNS = (
    "model", "method", "config", "concept", "suite", "edit_seed", "group", "prompt_id", "seed",
    "prompt", "hit", "scorer", "score", "value", "file",
)  # fmt: skip
_DTYPES = {"edit_seed": "Int64", "seed": "Int64", "hit": "boolean", "value": "float64"}


class _Score(NamedTuple):
    """One number per image of an entry, by the image's number in it."""

    scorer: str
    name: str
    values: dict[int, float]


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
    store = Store(Path(path))
    return images_frame(store, select(load_cells(store), Filters()))


def images_frame(store: Store, cells: list[CellRecord]) -> pd.DataFrame:
    """As `load_images`, of some cells of a store."""
    read = cache(lambda name: _scores(store, name))
    rows = [row for cell in cells for row in _rows(store, cell, read)]
    return pd.DataFrame(rows, columns=list(COLUMNS)).astype(_DTYPES)


def _rows(
    store: Store, cell: CellRecord, read: Callable[[str], tuple[str, list[_Score]]]
) -> Iterator[tuple[Any, ...]]:
    scores: dict[str, list[_Score]] = {}
    for name in cell.body.get("inputs", ()):
        images, numbers = read(name)
        scores.setdefault(images, []).extend(numbers)
    labels = (cell.model, cell.method, cell.config, cell.concept, cell.suite, cell.seed)
    for group, images_of_group in cell.body.get("pictures", {}).items():
        for image in images_of_group:
            file = _file(store, image)
            number = int(Path(image["file"]).stem)
            about = (group, image["prompt_id"], image["seed"], image["prompt"], image["hit"])
            values: list[tuple[str | None, str | None, float | None]] = [
                (score.scorer, score.name, score.values[number])
                for score in scores.get(image["key"], ())
                if number in score.values
            ]
            for score in values or [(None, None, None)]:
                yield (*labels, *about, *score, file)


def _file(store: Store, image: dict[str, Any]) -> str | None:
    entry = store.find(image.get("stage", Stage.IMAGES), image["key"], verify=False)
    return None if entry is None else str(entry.path(image["file"]))


def _scores(store: Store, name: str) -> tuple[str, list[_Score]]:
    """Key of the images that an input of a cell scored, and its numbers; none of other inputs."""
    stage, _, key = name.partition("/")
    entry = store.find(stage, key, verify=False) if stage in (Stage.SCORES, Stage.COMPARE) else None
    if entry is None:
        return "", []
    scorer = entry.spec["scorer"] if stage == Stage.SCORES else entry.spec["comparer"][0]
    images = entry.spec["prompts"] if stage == Stage.SCORES else entry.spec["following"]
    numbers = left_in(entry, len(images))
    with np.load(entry.path("scores.npz"), allow_pickle=False) as arrays:
        loaded = {array: arrays[array] for array in arrays.files}
    return entry.spec["pictures"], [
        _Score(scorer, array, _by_number(numbers, values))
        for array, values in loaded.items()
        if values.ndim == 1  # features and boxes are no scores
    ]


def _by_number(numbers: list[int], values: Any) -> dict[int, float]:
    # Distances of images that have nothing to be compared with are NaN.
    pairs = zip(numbers, values.tolist(), strict=True)
    return {number: float(value) for number, value in pairs if value == value}
