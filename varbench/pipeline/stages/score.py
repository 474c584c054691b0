"""The stage ``scores``: arrays that scorers give for the images of a batch."""

from __future__ import annotations

import time
from collections.abc import Mapping, Sequence

import numpy as np

from varbench.pipeline.context import RunContext
from varbench.pipeline.outputs import image_name
from varbench.pipeline.plan import Cell
from varbench.pipeline.stages.validity import log_failures, score_or_isolate
from varbench.pipeline.task import Task
from varbench.scoring.base import Scorer
from varbench.store import Entry, Stage, Writer, failures


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
    log_failures(scorer.id, prompts, failed)
    np.savez(writer.dir / "scores.npz", allow_pickle=False, **arrays)
    failures.note(writer, failures.failed_in(images) | failed)
    writer.meta["seconds"] = time.monotonic() - began
