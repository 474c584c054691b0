"""The stage ``compare``: how far images are from their counterparts.

A scorer sees one image; a comparer, such as LPIPS, sees two. Kept per image of a block:

    to_base    distance to the unerased model's image of the same prompt and image seed;
               0 for the unerased model's own
    next_seed  distance to the same model's image of the same prompt and its next image seed;
               NaN for a prompt's last

Both are NaN where the other image failed.

A distance follows from the two images and the comparer, so these are what an entry's spec names.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from itertools import pairwise
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np

from varbench.pipeline.context import RunContext
from varbench.pipeline.plan import Sample
from varbench.pipeline.stored_group import image_name
from varbench.scoring.base import Comparer
from varbench.store import Entry
from varbench.store.failures import failed_in, left_in, note

STAGE = "compare"
VERSION = 1
Place = tuple[int, int]
"""Number of a block, and of a row in it."""


def next_seeds(todo: Sequence[Sequence[Sample]]) -> list[list[Place | None]]:
    """Per block and row, where the image with the prompt's next higher image seed is.

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
    images: str,
    base: str,
    following: Sequence[tuple[str, int] | None],
) -> dict[str, Any]:
    """What decides the distances of a block.

    Args:
        role: the comparer's.
        who: its version and fingerprint.
        images: key of the block's images.
        base: key of the unerased model's images of the same rows.
        following: per row, key and number of the image with the next seed.
    """
    return {
        "version": VERSION,
        "comparer": [role, *who],
        "pictures": images,
        "base": base,
        "following": following,
    }


class _Pair(NamedTuple):
    """Two images, and which row of which array their distance is."""

    array: str
    row: int
    ours: Path
    theirs: Path


@dataclass(frozen=True)
class _Block:
    """Images and what they are compared with; `following` as in :func:`spec_of`."""

    images: Entry
    base: Entry
    following: Sequence[tuple[Entry, int] | None]

    def spec(self, role: str, who: Comparer) -> dict[str, Any]:
        following = [place and (place[0].key, place[1]) for place in self.following]
        identity = (who.version, who.fingerprint())
        return spec_of(role, identity, self.images.key, self.base.key, following)

    def pairs(self) -> list[_Pair]:
        """Every distance to compute; row by row, so that what is read once serves twice."""
        found = []
        for i, place in enumerate(self.following):
            if (file := _file(self.images, i)) is None:
                continue
            if self.base.key != self.images.key and (other := _file(self.base, i)) is not None:
                found.append(_Pair("to_base", i, file, other))
            if place is not None and (other := _file(*place)) is not None:
                found.append(_Pair("next_seed", i, file, other))
        return found


def _file(images: Entry, number: int) -> Path | None:
    """An image; None if it failed."""
    return None if number in failed_in(images) else images.path(image_name(number))


def compare(
    ctx: RunContext,
    wanted: Mapping[str, Comparer],
    todo: Sequence[Sequence[Sample]],
    images: Sequence[Entry],
    base: Sequence[Entry],
) -> list[dict[str, Entry]]:
    """Per block the entries of the wanted comparers, by role, made where they are not there.

    Args:
        shop: the place of work.
        wanted: comparers by role.
        todo: all blocks of a cell.
        images: their images.
        base: the unerased model's images of the same blocks; for itself, its own.
    """
    results: list[dict[str, Entry]] = [{} for _ in todo]
    missing: list[tuple[dict[str, Entry], str, _Block]] = []
    all_places = next_seeds(todo)
    for result, own, theirs, places in zip(results, images, base, all_places, strict=True):
        block = _Block(own, theirs, [place and (images[place[0]], place[1]) for place in places])
        for role, who in wanted.items():
            if found := ctx.store.get(STAGE, block.spec(role, who)):
                result[role] = found
            else:
                missing.append((result, role, block))
    total = len(todo) * len(wanted)
    if missing:
        with ctx.progress.stage(STAGE, total, total - len(missing)) as bar:
            for result, role, block in missing:
                result[role] = _compare_block(ctx, role, wanted[role], block)
                bar.advance()
    return results


def _compare_block(ctx: RunContext, role: str, who: Comparer, block: _Block) -> Entry:
    spec = block.spec(role, who)
    with ctx.store.lock(STAGE, spec):
        if entry := ctx.store.get(STAGE, spec):
            return entry
        count = len(block.following)
        arrays = {name: np.full(count, np.nan, np.float32) for name in ("to_base", "next_seed")}
        if block.base.key == block.images.key:
            arrays["to_base"][:] = 0
        if pairs := block.pairs():
            distances = who.compare([p.ours for p in pairs], [p.theirs for p in pairs])
            for pair, distance in zip(pairs, distances, strict=True):
                arrays[pair.array][pair.row] = distance
        with ctx.write(STAGE, spec) as writer:
            kept = {name: rows[left_in(block.images, count)] for name, rows in arrays.items()}
            np.savez(writer.dir / "scores.npz", allow_pickle=False, **kept)
            note(writer, failed_in(block.images))
    assert writer.entry is not None
    return writer.entry
