"""The stage ``scores``: arrays that scorers give for the images of a batch."""

from __future__ import annotations

import time
from collections.abc import Callable, Mapping, Sequence
from pathlib import Path

import numpy as np

from varbench.errors import UserError, machine_failed
from varbench.metrics.groups import Array
from varbench.pipeline.context import RunContext
from varbench.pipeline.outputs import image_name, joined
from varbench.pipeline.plan import Cell
from varbench.pipeline.task import Task
from varbench.scoring.base import Scorer
from varbench.store import Entry, Stage, StoreError, Writer, failures

Score = Callable[[Sequence[Path], Sequence[str]], Mapping[str, Array]]


def score_tasks(
    ctx: RunContext, cell: Cell, images: Sequence[Task], scorers: Mapping[str, Scorer]
) -> dict[Task, dict[str, Task]]:
    """Scores of images: per batch one task for each scorer, by role."""
    identities = {role: ctx.identity(scorer) for role, scorer in scorers.items()}
    return {
        task: {role: _task(cell, task, role, *identity) for role, identity in identities.items()}
        for task in images
    }


def _task(cell: Cell, images: Task, role: str, version: int, weights: str) -> Task:
    spec = {
        "pictures": images.key,
        "scorer": role,
        "version": version,
        "weights": weights,
        "prompts": [sample.prompt.text for sample in images.samples],
    }
    return Task(Stage.SCORES, spec, cell, _compute, images.samples, (images,), role)


def _compute(ctx: RunContext, task: Task, inputs: Sequence[Entry], writer: Writer) -> None:
    (images,), prompts = inputs, task.spec["prompts"]
    scorer = ctx.evaluator(task.cell).scorers[task.label]
    numbers = failures.left_in(images, len(prompts))
    files = {i: images.path(image_name(i)) for i in numbers}
    began = time.monotonic()
    singly = bool(images.spec.get("strict"))
    arrays, failed = score_or_isolate(scorer.score, files, prompts, singly=singly)
    failures.warn(task.label, prompts, failed)
    np.savez(writer.dir / "scores.npz", allow_pickle=False, **arrays)
    failures.note(writer, failures.failed_in(images) | failed)
    writer.meta["seconds"] = time.monotonic() - began


def score_or_isolate(
    score: Score,
    files: Mapping[int, Path],
    prompts: Sequence[str],
    *,
    singly: bool = False,
) -> tuple[dict[str, Array], dict[int, str]]:
    """Score images, by number in a batch; on an error, retry one by one to isolate the bad ones.

    A scorer that fails on all of them is broken itself, and its error is raised, as are errors of
    memory, of the device, of files, and those that name a fix. With `singly` they are scored one
    after the other from the start, so that no batch size decides how sums are rounded.

    Returns:
        Arrays with a row per image that did not fail, and the reasons of those that did.
    """
    if not files:
        return {}, {}
    if singly and len(files) > 1:
        return _one_by_one(score, files, prompts)
    try:
        arrays = score(list(files.values()), [prompts[i] for i in files])
    except (UserError, StoreError, OSError, ImportError):
        raise  # no image's fault
    except Exception as error:
        if machine_failed(error):
            raise
        if len(files) > 1:
            return _one_by_one(score, files, prompts, error)
        return {}, dict.fromkeys(files, f"{type(error).__name__}: {error}")
    good = _finite(arrays)
    bad = {i: "its scores are not finite" for i, ok in zip(files, good, strict=True) if not ok}
    return {name: rows[good] for name, rows in arrays.items()}, bad


def _one_by_one(
    score: Score,
    files: Mapping[int, Path],
    prompts: Sequence[str],
    error: Exception | None = None,
) -> tuple[dict[str, Array], dict[int, str]]:
    parts: list[dict[str, Array]] = []
    failed: dict[int, str] = {}
    for number, file in files.items():
        arrays, wrong = score_or_isolate(score, {number: file}, prompts)
        failed |= wrong
        parts += [] if wrong else [arrays]
    if error is not None and not parts:
        raise error
    return joined(parts), failed


def _finite(arrays: Mapping[str, Array]) -> Array:
    """``[n]`` True for images whose scores are all finite."""
    finite = [
        np.isfinite(rows).reshape(len(rows), -1).all(axis=1)
        for rows in arrays.values()
        if rows.dtype.kind == "f"
    ]
    count = len(next(iter(arrays.values())))
    return np.asarray(np.all([np.ones(count, np.bool_), *finite], axis=0))
