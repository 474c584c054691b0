"""The stage ``compare``: how far pictures are from their counterparts.

A scorer sees one picture; a comparer, such as LPIPS, sees two. Kept per picture of a block:

    to_base    distance to the unerased model's picture of the same prompt and picture seed;
               0 for the unerased model's own
    next_seed  distance to the same model's picture of the same prompt and its next picture seed;
               NaN for a prompt's last

Both are NaN where the other picture failed.

A distance follows from the two pictures and the comparer, so these are what an entry's spec names.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from itertools import pairwise
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np

from varbench.pipeline.plan import Row
from varbench.pipeline.stages.generate import Workshop
from varbench.pipeline.stored_group import picture_name
from varbench.scoring.comparers import Comparer
from varbench.store import Entry
from varbench.store.failures import failed_in, left_in, note

STAGE = "compare"
VERSION = 1
Place = tuple[int, int]
"""Number of a block, and of a row in it."""


def next_seeds(todo: Sequence[Sequence[Row]]) -> list[list[Place | None]]:
    """Per block and row, where the picture with the prompt's next higher picture seed is.

    It may be in another block, as blocks have a fixed length.
    """
    found: dict[str, dict[int, Place]] = {}
    for b, block in enumerate(todo):
        for r, row in enumerate(block):
            found.setdefault(row.prompt.id, {}).setdefault(row.seed, (b, r))
    following = {
        (prompt, seed): places[after]
        for prompt, places in found.items()
        for seed, after in pairwise(sorted(places))
    }
    return [[following.get((row.prompt.id, row.seed)) for row in block] for block in todo]


def spec_of(
    role: str,
    who: tuple[int, str],
    pictures: str,
    base: str,
    following: Sequence[tuple[str, int] | None],
) -> dict[str, Any]:
    """What decides the distances of a block.

    Args:
        role: the comparer's.
        who: its version and fingerprint.
        pictures: key of the block's pictures.
        base: key of the unerased model's pictures of the same rows.
        following: per row, key and number of the picture with the next seed.
    """
    return {
        "version": VERSION,
        "comparer": [role, *who],
        "pictures": pictures,
        "base": base,
        "following": following,
    }


class _Pair(NamedTuple):
    """Two pictures, and which row of which array their distance is."""

    array: str
    row: int
    ours: Path
    theirs: Path


@dataclass(frozen=True)
class _Block:
    """Pictures and what they are compared with; `following` as in :func:`spec_of`."""

    pictures: Entry
    base: Entry
    following: Sequence[tuple[Entry, int] | None]

    def spec(self, role: str, who: Comparer) -> dict[str, Any]:
        following = [place and (place[0].key, place[1]) for place in self.following]
        identity = (who.version, who.fingerprint())
        return spec_of(role, identity, self.pictures.key, self.base.key, following)

    def pairs(self) -> list[_Pair]:
        """Every distance to compute; row by row, so that what is read once serves twice."""
        found = []
        for i, place in enumerate(self.following):
            if (file := _file(self.pictures, i)) is None:
                continue
            if self.base.key != self.pictures.key and (other := _file(self.base, i)) is not None:
                found.append(_Pair("to_base", i, file, other))
            if place is not None and (other := _file(*place)) is not None:
                found.append(_Pair("next_seed", i, file, other))
        return found


def _file(pictures: Entry, number: int) -> Path | None:
    """A picture; None if it failed."""
    return None if number in failed_in(pictures) else pictures.path(picture_name(number))


def compare(
    shop: Workshop,
    wanted: Mapping[str, Comparer],
    todo: Sequence[Sequence[Row]],
    pictures: Sequence[Entry],
    base: Sequence[Entry],
) -> list[dict[str, Entry]]:
    """Per block the entries of the wanted comparers, by role, made where they are not there.

    Args:
        shop: the place of work.
        wanted: comparers by role.
        todo: all blocks of a cell.
        pictures: their pictures.
        base: the unerased model's pictures of the same blocks; for itself, its own.
    """
    results: list[dict[str, Entry]] = [{} for _ in todo]
    missing: list[tuple[dict[str, Entry], str, _Block]] = []
    all_places = next_seeds(todo)
    for result, own, theirs, places in zip(results, pictures, base, all_places, strict=True):
        block = _Block(own, theirs, [place and (pictures[place[0]], place[1]) for place in places])
        for role, who in wanted.items():
            if found := shop.store.get(STAGE, block.spec(role, who)):
                result[role] = found
            else:
                missing.append((result, role, block))
    total = len(todo) * len(wanted)
    if missing:
        with shop.progress.stage(STAGE, total, total - len(missing)) as bar:
            for result, role, block in missing:
                result[role] = _compare_block(shop, role, wanted[role], block)
                bar.advance()
    return results


def _compare_block(shop: Workshop, role: str, who: Comparer, block: _Block) -> Entry:
    spec = block.spec(role, who)
    with shop.store.lock(STAGE, spec):
        if entry := shop.store.get(STAGE, spec):
            return entry
        count = len(block.following)
        arrays = {name: np.full(count, np.nan, np.float32) for name in ("to_base", "next_seed")}
        if block.base.key == block.pictures.key:
            arrays["to_base"][:] = 0
        if pairs := block.pairs():
            distances = who.compare([p.ours for p in pairs], [p.theirs for p in pairs])
            for pair, distance in zip(pairs, distances, strict=True):
                arrays[pair.array][pair.row] = distance
        with shop.write(STAGE, spec) as writer:
            kept = {name: rows[left_in(block.pictures, count)] for name, rows in arrays.items()}
            np.savez(writer.dir / "scores.npz", allow_pickle=False, **kept)
            note(writer, failed_in(block.pictures))
    assert writer.entry is not None
    return writer.entry
