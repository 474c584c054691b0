r"""The task graph: every entry of a run, stage by stage, known before anything is computed.

    edit -> pictures -> scores, compare
       \-> probe (and rollouts of the base model)
       \-> attack -> attacked -> scores
       \-> completions (and rollouts) -> scores
    reference -> scores

`run` computes what is missing and records cells, `plan` counts what is missing, the Ray engine
spreads it over workers.
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass, replace
from itertools import chain

from varbench.data.groups import TARGET
from varbench.methods.registry import NONE
from varbench.metrics.base import COMPLETION
from varbench.metrics.robustness import completion_group
from varbench.pipeline.context import RunContext
from varbench.pipeline.outputs import CellOutputs, StoredGroup, probe_groups
from varbench.pipeline.plan import Cell, batches
from varbench.pipeline.stages.attack import attacked_samples, attacked_tasks, completion_tasks
from varbench.pipeline.stages.compare import compare_tasks
from varbench.pipeline.stages.edit import edit_task
from varbench.pipeline.stages.generate import images_task, sampling_spec
from varbench.pipeline.stages.probe import probe_tasks, probed_samples
from varbench.pipeline.stages.reference import FEATURES, reference_tasks, statistics
from varbench.pipeline.stages.rollouts import rollouts_tasks
from varbench.pipeline.stages.score import score_tasks
from varbench.pipeline.task import Task, perform
from varbench.store import Entry, Stage

Scores = dict[Task, dict[str, Task]]
"""By images of a batch, what scores and compares them, by role."""


@dataclass(frozen=True)
class CellTasks:
    """All entries of a cell but the cell itself; those of images are labelled with their group.

    Attributes:
        edit: None where no weight is changed.
        images: of the prompt groups.
        scores: of the images, attacks and references, with distances.
        probe: by batch over all probed groups.
        attacks: attacked and completed images.
        reference: renders of the model's world.
    """

    cell: Cell
    edit: Task | None
    images: Sequence[Task]
    scores: Scores
    probe: Sequence[Task] = ()
    attacks: Sequence[Task] = ()
    reference: Sequence[Task] = ()

    def all(self) -> list[Task]:
        """Each task after those that it needs, stage by stage."""
        edit = [self.edit] if self.edit else []
        needs = chain.from_iterable(_sources(task) for task in (*self.probe, *self.attacks))
        scores = score_list(self.scores)
        tasks = [*edit, *self.images, *needs, *self.probe, *self.attacks, *self.reference, *scores]
        order = list(Stage)
        return sorted(_distinct(tasks), key=lambda task: order.index(task.stage))

    def outputs(self, ctx: RunContext) -> CellOutputs:
        """The outputs of the cell's model, computed where the store lacks them.

        Raises:
            UserError: published statistics of real images are damaged.
        """
        cell, settings = self.cell, self.cell.config.suite.robustness
        entries = perform(ctx, self.all())
        samples, aliases = attacked_samples(cell), {}
        if cell.method == NONE and samples and COMPLETION in ctx.evaluator(cell).required:
            # The base model's completions are its images.
            aliases = {completion_group(count): (TARGET, samples) for count in settings.scales}
        stored, attacks, renders = (
            self._stored(images, entries) for images in (self.images, self.attacks, self.reference)
        )
        features = {name: g.group().array(FEATURES, FEATURES) for name, g in renders.items()}
        return CellOutputs(
            entries[self.edit.key] if self.edit else None,
            stored,
            list(entries.values()),
            probe_groups(probed_samples(cell), [entries[task.key] for task in self.probe]),
            attacks,
            aliases,
            {**features, **statistics(cell, ctx.evaluator(cell))},
        )

    def _stored(
        self, images: Iterable[Task], entries: Mapping[str, Entry]
    ) -> dict[str, StoredGroup]:
        """The entries of images and their scores, by prompt group."""
        groups: dict[str, StoredGroup] = {}
        for task in images:
            by_role = {role: entries[each.key] for role, each in self.scores[task].items()}
            batch = list(task.samples), entries[task.key], by_role
            groups.setdefault(task.label, StoredGroup()).batches.append(batch)
        return groups


def score_list(scores: Scores) -> list[Task]:
    """The tasks of scores, batch by batch."""
    return [task for by_role in scores.values() for task in by_role.values()]


def tasks_of_cell(ctx: RunContext, cell: Cell) -> CellTasks:
    """The tasks of a cell."""
    evaluator, edit = ctx.evaluator(cell), edit_task(ctx, cell)
    images = _images(ctx, cell, edit)
    base = images
    if evaluator.comparers and cell.method != NONE:
        base = _images(ctx, replace(cell, method=NONE), None)
    probed = [] if cell.steers else list(chain.from_iterable(probed_samples(cell).values()))
    rollouts = rollouts_tasks(ctx, cell, list(batches(probed, cell.config.suite.block)))
    attacks = [*completion_tasks(ctx, cell, edit), *attacked_tasks(ctx, cell, edit)]
    renders = reference_tasks(ctx, cell)
    features = {FEATURES: evaluator.scorers[FEATURES]} if renders else {}
    scores = {
        **image_scores(ctx, cell, images, base),
        **score_tasks(ctx, cell, attacks, evaluator.judge_scorers),
        **score_tasks(ctx, cell, renders, features),
    }
    probe = probe_tasks(ctx, cell, rollouts, edit)
    return CellTasks(cell, edit, images, scores, probe, attacks, renders)


def image_scores(
    ctx: RunContext, cell: Cell, images: Sequence[Task], base: Sequence[Task]
) -> Scores:
    """All scores of images that the cell's metrics need, and distances to the base model's.

    `base` has those of the same batches; for the base model itself, its own.
    """
    evaluator = ctx.evaluator(cell)
    scores = score_tasks(ctx, cell, images, evaluator.scorers)
    compared = compare_tasks(ctx, cell, images, base, evaluator.comparers)
    return {task: scores[task] | compared[task] for task in images}


def _images(ctx: RunContext, cell: Cell, edit: Task | None) -> list[Task]:
    spec, size = sampling_spec(ctx, cell, edit), cell.config.suite.block
    return [
        images_task(cell, spec, batch, edit, name)
        for name, samples in cell.groups().items()
        for batch in batches(samples, size)
    ]


def _sources(task: Task) -> Iterator[Task]:
    """Everything that a task is computed from besides the edit, in order."""
    for need in task.needs:
        if need.stage is not Stage.EDIT:
            yield from _sources(need)
            yield need


def _distinct(tasks: Iterable[Task]) -> list[Task]:
    return list({task.key: task for task in tasks}.values())


def tasks(ctx: RunContext, cells: Sequence[Cell]) -> list[Task]:
    """All tasks of cells, each key once, each task after those that it needs."""
    return _distinct(chain.from_iterable(tasks_of_cell(ctx, cell).all() for cell in cells))
