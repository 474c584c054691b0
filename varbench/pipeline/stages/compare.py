"""The stage ``compare``: how far images are from their counterparts.

A scorer sees one image; a comparer, such as LPIPS, sees two. Kept per image of a batch:

    to_base    distance to the base model's image of the same prompt and seed; 0 for the base
               model's own
    next_seed  distance to the same model's image of the same prompt and its next seed; NaN for a
               prompt's last

Both are NaN where the other image failed.

A distance follows from the two images and the comparer, so these are what an entry's spec names.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from itertools import pairwise
from pathlib import Path
from typing import Any

import numpy as np

from varbench.pipeline.context import RunContext
from varbench.pipeline.outputs import image_name
from varbench.pipeline.plan import Cell, Sample
from varbench.pipeline.task import Task
from varbench.scoring.base import Comparer
from varbench.store import Entry, Stage, Writer
from varbench.store.failures import failed_in, left_in, note

VERSION = 1
Place = tuple[int, int]
"""Number of a batch, and of a sample in it."""


def next_seeds(batches: Sequence[Sequence[Sample]]) -> list[list[Place | None]]:
    """Per batch and sample, the place of the image with the prompt's next higher seed.

    It may be in another batch, as batches have a fixed length.
    """
    seeds: dict[str, dict[int, Place]] = {}
    for b, batch in enumerate(batches):
        for i, sample in enumerate(batch):
            seeds.setdefault(sample.prompt.id, {}).setdefault(sample.seed, (b, i))
    following = {
        (prompt, seed): places[after]
        for prompt, places in seeds.items()
        for seed, after in pairwise(sorted(places))
    }
    return [[following.get(s.key) for s in batch] for batch in batches]


def compare_tasks(
    ctx: RunContext,
    cell: Cell,
    images: Sequence[Task],
    base: Sequence[Task],
    comparers: Mapping[str, Comparer],
) -> dict[Task, dict[str, Task]]:
    """Distances of images: per batch one task for each comparer, by role.

    `base` has the base model's images of the same batches; for itself, its own.
    """
    identities = {role: ctx.identity(comparer) for role, comparer in comparers.items()}
    places = next_seeds([task.samples for task in images])
    tasks: dict[Task, dict[str, Task]] = {}
    for own, theirs, following in zip(images, base, places, strict=True):
        keys = [place and (images[place[0]].key, place[1]) for place in following]
        others = dict.fromkeys(images[place[0]] for place in following if place)
        specs = {r: spec_of(r, who, own.key, theirs.key, keys) for r, who in identities.items()}
        needs = (own, theirs, *others)
        tasks[own] = {
            role: Task(Stage.COMPARE, spec, cell, _compute, own.samples, needs, role)
            for role, spec in specs.items()
        }
    return tasks


def spec_of(
    role: str,
    identity: tuple[int, str],
    images: str,
    base: str,
    following: Sequence[tuple[str, int] | None],
) -> dict[str, Any]:
    """Spec of a batch's distances; `following` has key and number of the next seed's images."""
    return {
        "version": VERSION,
        "comparer": [role, *identity],
        "pictures": images,
        "base": base,
        "following": following,
    }


def _file(images: Entry, number: int) -> Path | None:
    """An image; None if it failed."""
    return None if number in failed_in(images) else images.path(image_name(number))


def _compute(ctx: RunContext, task: Task, inputs: Sequence[Entry], writer: Writer) -> None:
    images, base, *_ = inputs
    by_key = {entry.key: entry for entry in inputs}
    count, own = len(task.samples), base.key == images.key
    arrays = {
        "to_base": np.full(count, 0 if own else np.nan, np.float32),
        "next_seed": np.full(count, np.nan, np.float32),
    }
    pairs: list[tuple[str, int, Path, Path]] = []
    # Image by image, so that a file that is read once serves twice.
    for i, place in enumerate(task.spec["following"]):
        others = {
            "to_base": None if own else _file(base, i),
            "next_seed": _file(by_key[place[0]], place[1]) if place else None,
        }
        if file := _file(images, i):
            pairs += [(name, i, file, other) for name, other in others.items() if other]
    if pairs:
        comparer = ctx.evaluator(task.cell).comparers[task.label]
        _, _, ours, theirs = zip(*pairs, strict=True)
        distances = comparer.compare(ours, theirs)
        for (name, i, _, _), distance in zip(pairs, distances, strict=True):
            arrays[name][i] = distance
    left = left_in(images, count)
    rows = {name: array[left] for name, array in arrays.items()}
    np.savez(writer.dir / "scores.npz", allow_pickle=False, **rows)
    note(writer, failed_in(images))
