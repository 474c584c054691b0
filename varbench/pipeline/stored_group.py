"""The images of one prompt group with what was seen in them, block by block, as one group."""

from __future__ import annotations

from collections.abc import Collection, Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from itertools import chain
from typing import Any

import numpy as np

from varbench.metrics import ScoredImages
from varbench.metrics.base import Array, Key
from varbench.pipeline.plan import Sample
from varbench.store import Entry
from varbench.store.failures import Failed, failed_in, left_in


@dataclass
class StoredGroup:
    """Entries of a group; item i of each list is of block i.

    Attributes:
        blocks: their rows.
        images: their images.
        scores: what was seen in them, by role.
    """

    blocks: list[list[Sample]] = field(default_factory=list)
    images: list[Entry] = field(default_factory=list)
    scores: list[dict[str, Entry]] = field(default_factory=list)

    def add(self, block: Sequence[Sample], images: Entry, scores: Mapping[str, Entry]) -> None:
        """One block more."""
        self.blocks.append(list(block))
        self.images.append(images)
        self.scores.append(dict(scores))

    @property
    def rows(self) -> list[Sample]:
        """Of all blocks, with those whose images failed."""
        return list(chain.from_iterable(self.blocks))

    def entries(self) -> list[Entry]:
        """Everything that values are computed from."""
        return [*self.images, *(one for block in self.scores for one in block.values())]

    def failed(self) -> dict[Key, Failed]:
        """What could not be made or looked at, and why."""
        return {
            key_of(block[number]): Failed(f"{entry.stage}/{entry.key}", reason)
            for block, entries in self._by_block()
            for entry in reversed(entries)  # of several the first tells: the image itself
            for number, reason in failed_in(entry).items()
        }

    def group(self, without: Collection[Key] = ()) -> ScoredImages:
        """What was seen in all images but those that failed, and those `without`."""
        gone = {*self.failed(), *without}
        rows, parts = [], []
        for block, scores in zip(self.blocks, self.scores, strict=True):
            kept = [number for number, row in enumerate(block) if key_of(row) not in gone]
            rows += [block[number] for number in kept]
            parts.append({role: _rows(one, len(block), kept) for role, one in scores.items()})
        arrays = {role: _joined([part[role] for part in parts]) for role in (parts or [{}])[0]}
        return ScoredImages([row.prompt for row in rows], [row.seed for row in rows], arrays)

    def files(self) -> dict[Key, tuple[Entry, str]]:
        """Where the images are that were made."""
        return {
            key_of(block[number]): (entry, image_name(number))
            for block, entry in zip(self.blocks, self.images, strict=True)
            for number in left_in(entry, len(block))
        }

    def _by_block(self) -> Iterator[tuple[Sequence[Sample], list[Entry]]]:
        for block, drawn, scores in zip(self.blocks, self.images, self.scores, strict=True):
            yield block, [drawn, *scores.values()]


def key_of(row: Sample) -> Key:
    """What tells an image from the others of its group, and decides its random numbers."""
    return row.prompt.id, row.seed


def image_name(number: int) -> str:
    """The file of an image in its entry."""
    return f"{number:03d}.png"


def _rows(entry: Entry, count: int, kept: Sequence[int]) -> dict[str, Any]:
    """The rows of some images of a block, of `count`, in an entry of scores."""
    place = {number: row for row, number in enumerate(left_in(entry, count))}
    index = np.array([place[number] for number in kept], np.int64)
    with np.load(entry.path("scores.npz"), allow_pickle=False) as arrays:
        return {name: arrays[name][index] for name in arrays.files}


def _joined(parts: Sequence[Mapping[str, Array]]) -> dict[str, Array]:
    """Arrays of several blocks as one; a block of which nothing is left has none."""
    there = [part for part in parts if part]
    return {name: np.concatenate([part[name] for part in there]) for name in (there or [{}])[0]}
