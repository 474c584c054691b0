"""Scoring of external images: cells like those of a run."""

from __future__ import annotations

from typing import Any

from varbench.conf.schema import plain
from varbench.metrics.record import CELL_SCHEMA
from varbench.pipeline.context import RunContext
from varbench.pipeline.external.images import import_images
from varbench.pipeline.external.job import ImageSet, ScoreJob
from varbench.pipeline.outputs import CellHeader, CellOutputs, finished, look, write_cell
from varbench.pipeline.plan import blocks
from varbench.pipeline.stages.reference import references, statistics_spec
from varbench.store import Entry

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
        cell = finished(ctx.store, header.spec)
        if cell is None:
            base = base or _outputs(ctx, job.base, images[0], None)
            outputs = base if image_set is job.base else _outputs(ctx, image_set, entries, base)
            real = references(ctx, image_set.cell)
            cell = write_cell(ctx, image_set.cell, outputs, base, header, real)
        cells.append(cell)
    return cells


def _imported(ctx: RunContext, image_set: ImageSet) -> list[Entry]:
    size = image_set.cell.config.suite.block
    samples = [batch for group in image_set.samples.values() for batch in blocks(group, size)]
    files = [
        group[start : start + size]
        for group in image_set.files.values()
        for start in range(0, len(group), size)
    ]
    return import_images(ctx, samples, files)


def _outputs(
    ctx: RunContext, image_set: ImageSet, images: list[Entry], base: CellOutputs | None
) -> CellOutputs:
    samples = {group: list(some) for group, some in image_set.samples.items()}
    return look(ctx, image_set.cell, samples, images, base)


def _header(
    ctx: RunContext, job: ScoreJob, image_set: ImageSet, images: list[Entry], base: list[Entry]
) -> CellHeader:
    cell = image_set.cell
    suite, evaluator = plain(cell.config)["suite"], ctx.instruments(cell)
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
