"""Scoring of external images: cells like those of a run."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

from varbench.conf.schema import plain
from varbench.metrics.record import CELL_SCHEMA
from varbench.pipeline.context import RunContext
from varbench.pipeline.external.images import import_images
from varbench.pipeline.external.job import ImageSet, ScoreJob
from varbench.pipeline.graph import scored_batches, stored_groups
from varbench.pipeline.outputs import CellOutputs
from varbench.pipeline.plan import batches
from varbench.pipeline.record import CellHeader, complete, record_cell
from varbench.pipeline.stages.reference import statistics, statistics_spec
from varbench.pipeline.task import Task, perform
from varbench.store import Entry, Stage, StoreError, Writer

VERSION = 1
SOURCE = "pictures made elsewhere"  # stored in cells, so it keeps its words


def score(job: ScoreJob, ctx: RunContext) -> list[Entry]:
    """Record the cells of a job, except those that the store has; the base model's comes first.

    Raises:
        ManifestError: an image is damaged; nothing has been scored then.
    """
    image_sets = [job.base] if job.method is None else [job.base, job.method]
    images = [_imported(ctx, image_set) for image_set in image_sets]
    base: CellOutputs | None = None
    cells: list[Entry] = []
    for image_set, entries in zip(image_sets, images, strict=True):
        ctx.progress.label = image_set.cell.method
        header = _header(ctx, job, image_set, entries, images[0])
        recorded = ctx.store.get(Stage.CELL, header.spec)
        if recorded is None or not complete(ctx.store, recorded):
            base = base or _outputs(ctx, job.base, images[0], images[0])
            outputs = (
                base if image_set is job.base else _outputs(ctx, image_set, entries, images[0])
            )
            cell = image_set.cell
            real = statistics(cell, ctx.evaluator(cell))
            recorded = record_cell(ctx, cell, outputs, base, header, real, outdated=recorded)
        cells.append(recorded)
    return cells


def _imported(ctx: RunContext, image_set: ImageSet) -> list[Entry]:
    size = image_set.cell.config.suite.block
    samples = [batch for group in image_set.samples.values() for batch in batches(group, size)]
    files = [
        group[start : start + size]
        for group in image_set.files.values()
        for start in range(0, len(group), size)
    ]
    return import_images(ctx, samples, files)


def _outputs(
    ctx: RunContext, image_set: ImageSet, images: Sequence[Entry], base: Sequence[Entry]
) -> CellOutputs:
    """Scores of images that are in the store, and distances to the base model's."""
    tasks, base_tasks = (_image_tasks(image_set, entries) for entries in (images, base))
    groups = scored_batches(ctx, image_set.cell, tasks, base_tasks)
    scores = [t for group in groups.values() for batch in group for t in batch.scores.values()]
    entries = {entry.key: entry for entry in images} | perform(ctx, scores)
    return CellOutputs(None, stored_groups(groups, entries))


def _image_tasks(image_set: ImageSet, images: Sequence[Entry]) -> dict[str, list[Task]]:
    """Stored images as tasks, by group."""
    cell, entries = image_set.cell, iter(images)
    size = cell.config.suite.block
    return {
        name: [
            Task(Stage.IMAGES, entry.spec, cell, _vanished, samples, label=name)
            for samples, entry in zip(batches(group, size), entries, strict=False)
        ]
        for name, group in image_set.samples.items()
    }


def _vanished(ctx: RunContext, task: Task, inputs: Sequence[Entry], writer: Writer) -> None:
    raise StoreError(f"{task} was removed from the store meanwhile; run the same command again")


def _header(
    ctx: RunContext, job: ScoreJob, image_set: ImageSet, images: list[Entry], base: list[Entry]
) -> CellHeader:
    cell = image_set.cell
    suite, evaluator = plain(cell.config)["suite"], ctx.evaluator(cell)
    spec: dict[str, Any] = {
        "schema": CELL_SCHEMA,
        "elsewhere": VERSION,
        "model": cell.config.model.name,
        "method": cell.method,
        "suite": suite,
        "concept": cell.concept.digest(),
        "seed": cell.seed,
        "groups": {group: len(samples) for group, samples in image_set.samples.items()},
        "pictures": [entry.key for entry in images],
        "base": [entry.key for entry in base],
        **evaluator.spec(),
        **statistics_spec(cell, evaluator),
    }
    fields: dict[str, Any] = {
        "method_config": None,
        "command": job.request.command,
        "overrides": [],
        "resolved_config": {"model": {"name": cell.config.model.name}, "suite": suite},
    }
    origin = {
        "source": SOURCE,
        "list": image_set.sha256,
        "against": job.base.sha256 if image_set is not job.base else None,
        "not_compared": job.base.unused,
        "group_from_prompt": job.inferred,
    }
    return CellHeader(spec, fields, origin)
