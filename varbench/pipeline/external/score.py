"""Scoring of external images: cells like those of a run."""

from __future__ import annotations

from collections.abc import Sequence
from functools import partial
from typing import Any

from varbench.conf.schema import plain
from varbench.metrics.record import CELL_SCHEMA
from varbench.pipeline.context import RunContext
from varbench.pipeline.external.images import ImageFile, check_pixels, save_png
from varbench.pipeline.external.job import ImageSet, ScoreJob
from varbench.pipeline.graph import CellTasks, image_scores
from varbench.pipeline.outputs import CellOutputs, image_name
from varbench.pipeline.plan import Cell, batches
from varbench.pipeline.record import CellHeader, record_cell, recorded
from varbench.pipeline.stages.reference import statistics_spec
from varbench.pipeline.task import Task
from varbench.store import Entry, Stage, Writer
from varbench.store.temporary import sweep

VERSION = 1


def score(job: ScoreJob, ctx: RunContext) -> list[Entry]:
    """Record the cells of a job, except those that the store has; the base model's comes first.

    Raises:
        UserError: an image is damaged; nothing has been scored then.
    """
    sweep(ctx.store.root)
    image_sets = [job.base] if job.method is None else [job.base, job.method]
    images = [import_images(ctx, image_set) for image_set in image_sets]
    base: CellOutputs | None = None
    cells: list[Entry] = []
    for image_set, own in zip(image_sets, images, strict=True):
        ctx.progress.label = image_set.cell.method
        header = _header(ctx, job, image_set, own, images[0])
        samples = {name: [s for s, _ in images] for name, images in image_set.images.items()}
        entry = recorded(ctx.store, header.spec, samples)
        if entry is None:
            base = base or _outputs(ctx, job.base.cell, images[0], images[0])
            outputs = base if own is images[0] else _outputs(ctx, image_set.cell, own, images[0])
            entry = record_cell(ctx, image_set.cell, outputs, base, header)
        cells.append(entry)
    return cells


def _outputs(
    ctx: RunContext, cell: Cell, images: Sequence[Task], base: Sequence[Task]
) -> CellOutputs:
    """Scores of images, and distances to the base model's."""
    return CellTasks(cell, None, images, image_scores(ctx, cell, images, base)).outputs(ctx)


def import_images(ctx: RunContext, image_set: ImageSet) -> list[Task]:
    """The images of a set as tasks whose entries the store then has.

    All files are decoded before the first is stored.

    Raises:
        UserError: files cannot be decoded, or have changed since they were read.
    """
    cell, size = image_set.cell, image_set.cell.config.suite.block
    tasks: list[Task] = []
    new: list[tuple[Task, list[ImageFile]]] = []
    for name, images in image_set.images.items():
        for batch in batches(images, size):
            rows = [[sample.prompt.text, sample.seed, *file.identity] for sample, file in batch]
            spec, files = {"elsewhere": VERSION, "rows": rows}, [file for _, file in batch]
            compute, samples = partial(_copy, files), [sample for sample, _ in batch]
            task = Task(Stage.IMAGES, spec, cell, compute, samples, label=name, exact=True)
            tasks.append(task)
            if ctx.store.find(task.stage, task.key) is None:
                new.append((task, files))
    if new:
        total = sum(map(len, image_set.images.values()))
        unchecked = [file for _, files in new for file in files]
        with ctx.progress.stage("check", total, total - len(unchecked)) as bar:
            check_pixels(unchecked, bar.advance)
    for task, _ in new:
        task.entry(ctx)
    return tasks


def _copy(
    files: Sequence[ImageFile],
    ctx: RunContext,
    task: Task,
    inputs: Sequence[Entry],
    writer: Writer,
) -> None:
    for number, file in enumerate(files):
        save_png(file, writer.dir / image_name(number))
    writer.meta["tokens_lost"] = {}


def _header(
    ctx: RunContext,
    job: ScoreJob,
    image_set: ImageSet,
    images: Sequence[Task],
    base: Sequence[Task],
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
        "groups": {group: len(images) for group, images in image_set.images.items()},
        "pictures": [task.key for task in images],
        "base": [task.key for task in base],
        **evaluator.spec,
        **statistics_spec(cell, evaluator),
    }
    fields: dict[str, Any] = {
        "method_config": None,
        "command": job.request.command,
        "overrides": [],
        "resolved_config": {"model": {"name": cell.config.model.name}, "suite": suite},
    }
    origin = {
        "source": "pictures made elsewhere",  # stored in cells, so it keeps its words
        "list": image_set.sha256,
        "against": job.base.sha256 if image_set is not job.base else None,
        "not_compared": job.base.unused,
        "group_from_prompt": job.inferred,
    }
    return CellHeader(spec, fields, origin)
