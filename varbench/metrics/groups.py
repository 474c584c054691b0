"""Scored images of prompt groups, matched between two models by prompt and image seed."""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from itertools import accumulate
from typing import Any

import numpy as np
from numpy.typing import NDArray

from varbench.data.prompt import Prompt

Array = NDArray[Any]
Arrays = Mapping[str, Array]
Floats = NDArray[np.float64]
Flags = NDArray[np.bool_]
Key = tuple[str, int]  # prompt id and image seed


def row_blocks(count: int, size: int = 512) -> Iterator[slice]:
    """Slices of at most `size` rows that cover `count` rows in order, to bound memory."""
    return (slice(start, start + size) for start in range(0, count, size))


@dataclass(frozen=True)
class ScoredImages:
    """Images of one model on one prompt group; row i of every array is image i.

    Raises:
        ValueError: lengths differ.
    """

    prompts: Sequence[Prompt]
    seeds: Sequence[int]
    scores: Mapping[str, Arrays]  # scorer id -> array name -> [n, ...]

    def __post_init__(self) -> None:
        sizes = {len(self.prompts), len(self.seeds)}
        sizes |= {len(rows) for arrays in self.scores.values() for rows in arrays.values()}
        if len(sizes) > 1:
            raise ValueError(f"prompts, seeds and score arrays differ in length: {sorted(sizes)}")

    def __len__(self) -> int:
        return len(self.prompts)

    def keys(self) -> list[Key]:
        """Prompt id and image seed of each image."""
        return [
            (prompt.id, int(seed)) for prompt, seed in zip(self.prompts, self.seeds, strict=True)
        ]

    @property
    def clusters(self) -> Array:
        """Prompt id of each image, [n] str."""
        return np.array([prompt.id for prompt in self.prompts])

    def array(self, scorer: str, name: str) -> Array:
        """One stored array; a ValueError that names the fix if it is not there."""
        try:
            return self.scores[scorer][name]
        except KeyError:
            raise ValueError(
                f"no {scorer}/{name} scores; run the scorer {scorer!r} first"
            ) from None

    def at(self, keys: Iterable[Key]) -> ScoredImages:
        """The images of these prompt ids and image seeds, in that order.

        Raises:
            KeyError: there is no such image.
        """
        places = _rows(self)
        return self.take([places[key] for key in keys])

    def take(self, rows: Sequence[int]) -> ScoredImages:
        """The images `rows`, in that order."""
        index = np.asarray(rows, dtype=np.int64)
        return ScoredImages(
            [self.prompts[i] for i in rows],
            [self.seeds[i] for i in rows],
            {
                s: {name: a[index] for name, a in arrays.items()}
                for s, arrays in self.scores.items()
            },
        )


@dataclass(frozen=True)
class Pair:
    """The same prompts and image seeds from both models, row by row, sorted by both."""

    method: ScoredImages
    base: ScoredImages
    dropped: int  # images that one side lacks

    def __len__(self) -> int:
        return len(self.method)


def match(
    method: Mapping[str, ScoredImages], base: Mapping[str, ScoredImages], names: Sequence[str]
) -> Pair:
    """Images of the named groups, pooled and matched; of a shared prompt one group's."""
    pairs = [(method[name], base[name]) for name in names if name in method and name in base]
    places: dict[Key, tuple[int, int, int]] = {}
    dropped: set[Key] = set()
    for part, (ours, theirs) in enumerate(pairs):
        our_rows, their_rows = _rows(ours), _rows(theirs)
        dropped |= our_rows.keys() ^ their_rows.keys()
        for key in our_rows.keys() & their_rows.keys():
            places.setdefault(key, (part, our_rows[key], their_rows[key]))
    rows = [places[key] for key in sorted(places)]
    return Pair(
        _pooled([ours for ours, _ in pairs], [(part, row) for part, row, _ in rows]),
        _pooled([theirs for _, theirs in pairs], [(part, row) for part, _, row in rows]),
        len(dropped - places.keys()),
    )


def _rows(group: ScoredImages) -> dict[Key, int]:
    rows: dict[Key, int] = {}
    for i, key in enumerate(group.keys()):
        if rows.setdefault(key, i) != i:
            text = group.prompts[i].text
            raise ValueError(f"prompt {text!r} has picture seed {key[1]} twice in one group")
    return rows


def _pooled(groups: Sequence[ScoredImages], rows: Sequence[tuple[int, int]]) -> ScoredImages:
    """Rows (group, row of it) of several groups; keeps the arrays that all of these groups have."""
    used = {part: groups[part] for part in sorted({part for part, _ in rows})}
    if not used:
        return ScoredImages([], [], {})
    first = next(iter(used.values()))
    starts = dict(zip(used, accumulate(map(len, used.values()), initial=0), strict=False))
    whole = ScoredImages(
        [prompt for group in used.values() for prompt in group.prompts],
        [seed for group in used.values() for seed in group.seeds],
        {
            scorer: {
                name: np.concatenate([g.scores[scorer][name] for g in used.values()])
                for name in arrays
                if all(name in g.scores.get(scorer, {}) for g in used.values())
            }
            for scorer, arrays in first.scores.items()
        },
    )
    return whole.take([starts[part] + row for part, row in rows])
