"""Real images that a cell is compared with, by prompt group, as the role `features` sees them.

A model with a world of its own has renders of the same prompts (stage ``reference``), made and
scored like any image. A group whose prompt set is published together with statistics of the images
that it describes (`coco-30k` and `coco-30k-statistics`) has these, once they are in the data
folder: they are Inception's, so only the standard scorers can use them.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence

from PIL import Image

from varbench.data.groups import KEPT
from varbench.data.published.catalog import PromptSetAsset, known
from varbench.data.published.data_folder import local_path, verify
from varbench.data.published.readers import read_statistics
from varbench.errors import UserError
from varbench.metrics.base import Moments
from varbench.models import registry
from varbench.pipeline.context import RunContext
from varbench.pipeline.outputs import image_name
from varbench.pipeline.plan import Cell, batches
from varbench.pipeline.task import Task
from varbench.scoring.evaluator import Evaluator
from varbench.store import Entry, Stage, Writer
from varbench.store.hashing import cached_file_sha256

FEATURES = "features"


def reference_tasks(ctx: RunContext, cell: Cell) -> list[Task]:
    """Renders of the model's own world; empty for models without one."""
    model, groups = cell.config.model, cell.groups()
    world = registry.reference(model.name)
    if world is None or FEATURES not in ctx.evaluator(cell).scorers:
        return []
    common = {"world": model.name, "version": world.VERSION}
    common |= {"strict": True} if model.strict else {}
    tasks = []
    for group in KEPT:
        for samples in batches(groups.get(group, []), cell.config.suite.block):
            rows = [[s.prompt.id, s.seed, dict(s.prompt.labels)] for s in samples]
            spec = common | {"rows": rows}
            task = Task(Stage.REFERENCE, spec, cell, _render, samples, label=group, exact=True)
            tasks.append(task)
    return tasks


def _render(ctx: RunContext, task: Task, inputs: Sequence[Entry], writer: Writer) -> None:
    world = registry.reference(task.cell.config.model.name)
    for i, sample in enumerate(task.samples):
        array = world.reference_image(sample.prompt.labels, sample.prompt.id, sample.seed)
        Image.fromarray(array).save(writer.dir / image_name(i))


def statistics(cell: Cell, evaluator: Evaluator) -> dict[str, Moments]:
    """Published moments of the features of real images, by group; also for folders of images.

    Raises:
        UserError: they are damaged.
    """
    moments = {}
    for group, asset in _published(cell, evaluator).items():
        described = known().get(asset.name.removesuffix("-statistics"))
        mean, covariance = read_statistics(local_path(asset), asset.name)
        moments[group] = Moments(mean, covariance, described.rows if described else None)
    return moments


def statistics_spec(cell: Cell, evaluator: Evaluator) -> dict[str, dict[str, str]]:
    """The part of a cell's spec that names published statistics: their checksums.

    Raises:
        UserError: published statistics are damaged.
    """
    assets = _published(cell, evaluator)
    checksums = {group: cached_file_sha256(local_path(asset)) for group, asset in assets.items()}
    return {"statistics": checksums} if checksums else {}


def _published(cell: Cell, evaluator: Evaluator) -> Mapping[str, PromptSetAsset]:
    """The published statistics in the data folder, by group."""
    # They are of the standard scorers' features.
    if evaluator.judge_spec.network_set != "standard" or FEATURES not in evaluator.scorers:
        return {}
    assets = {}
    for group, size in cell.config.suite.groups.items():
        asset = known().get(f"{size.set}-statistics")
        if asset is not None and asset.format == "statistics" and local_path(asset).is_file():
            if wrong := verify(asset):
                raise UserError(f"{local_path(asset)}: {wrong}; run `varbench fetch {asset.name}`")
            assets[group] = asset
    return assets
