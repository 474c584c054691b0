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
from varbench.pipeline.outputs import CellOutputs, ProbeOutputs, StoredGroup
from varbench.pipeline.plan import Cell, batches
from varbench.pipeline.stages.attack import attacked_samples, attacked_tasks, completion_tasks
from varbench.pipeline.stages.compare import compare_tasks
from varbench.pipeline.stages.edit import edit_task
from varbench.pipeline.stages.generate import images_task, sampling_spec
from varbench.pipeline.stages.probe import probe_tasks, probed_samples
from varbench.pipeline.stages.reference import FEATURES, reference_tasks, statistics
from varbench.pipeline.stages.rollouts import rollouts_tasks
from varbench.pipeline.stages.score import score_tasks
from varbench.pipeline.task import Task
from varbench.store import Entry, Stage

Scores = dict[Task, dict[str, Task]]
"""By images of a batch, what scores and compares them, by role."""


@dataclass(frozen=True)
class CellTasks:
    """All entries of a cell but the cell itself; those of images are labelled with their group.

    Attributes:
        edit: None where no weight is changed.
        images: of the prompt groups.
        rollouts, probe: by batch over all probed groups.
        attacks: attacked and completed images.
        attack_inputs: roll-outs and vectors that these are made from.
        reference: renders of the model's world.
        scores: of all these images, with distances.
    """

    cell: Cell
    edit: Task | None
    images: Sequence[Task]
    rollouts: Sequence[Task]
    probe: Sequence[Task]
    attacks: Sequence[Task]
    attack_inputs: Sequence[Task]
    reference: Sequence[Task]
    scores: Scores

    def all(self) -> list[Task]:
        """Each task after those that it needs, stage by stage."""
        tasks = [
            *([self.edit] if self.edit else []), *self.images, *self.rollouts, *self.probe,
            *self.attack_inputs, *self.attacks, *self.reference, *score_list(self.scores),
        ]  # fmt: skip
        order = list(Stage)
        return sorted(tasks, key=lambda task: order.index(task.stage))

    def outputs(self, ctx: RunContext, entries: Mapping[str, Entry]) -> CellOutputs:
        """The outputs of the cell's model, from the entries of all its tasks by key.

        Raises:
            UserError: published statistics of real images are damaged.
        """
        cell, settings = self.cell, self.cell.config.suite.robustness
        samples, aliases = attacked_samples(cell), {}
        if cell.method == NONE and samples and COMPLETION in ctx.evaluator(cell).required:
            # The base model's completions are its images.
            aliases = {completion_group(count): (TARGET, samples) for count in settings.scales}
        stored, attacks, renders = (
            stored_groups(images, self.scores, entries)
            for images in (self.images, self.attacks, self.reference)
        )
        features = {name: g.group().array(FEATURES, FEATURES) for name, g in renders.items()}
        return CellOutputs(
            entries[self.edit.key] if self.edit else None,
            stored,
            list(entries.values()),
            ProbeOutputs(
                probed_samples(cell),
                [entries[task.key] for task in self.rollouts],
                [entries[task.key] for task in self.probe],
            ),
            attacks,
            aliases,
            {**features, **statistics(cell, ctx.evaluator(cell))},
        )


def score_list(scores: Scores) -> list[Task]:
    """The tasks of scores, batch by batch."""
    return [task for by_role in scores.values() for task in by_role.values()]


def stored_groups(
    images: Iterable[Task], scores: Scores, entries: Mapping[str, Entry]
) -> dict[str, StoredGroup]:
    """The entries of images and their scores, by prompt group."""
    groups: dict[str, StoredGroup] = {}
    for task in images:
        by_role = {role: entries[each.key] for role, each in scores[task].items()}
        batch = list(task.samples), entries[task.key], by_role
        groups.setdefault(task.label, StoredGroup()).batches.append(batch)
    return groups


def tasks_of_cell(ctx: RunContext, cell: Cell) -> CellTasks:
    """The tasks of a cell."""
    evaluator, edit = ctx.evaluator(cell), edit_task(ctx, cell)
    images = _images(ctx, cell, edit)
    base = images
    if evaluator.comparers and cell.method != NONE:
        base = _images(ctx, replace(cell, method=NONE), None)
    probed = list(chain.from_iterable(probed_samples(cell).values()))
    todo = [] if cell.steers else list(batches(probed, cell.config.suite.block))
    rollouts = rollouts_tasks(ctx, cell, todo)
    attacks = [*completion_tasks(ctx, cell, edit), *attacked_tasks(ctx, cell, edit)]
    renders = reference_tasks(ctx, cell)
    features = {FEATURES: evaluator.scorers[FEATURES]} if renders else {}
    scores = {
        **image_scores(ctx, cell, images, base),
        **score_tasks(ctx, cell, attacks, evaluator.judge_scorers),
        **score_tasks(ctx, cell, renders, features),
    }
    return CellTasks(
        cell,
        edit,
        images,
        rollouts,
        probe_tasks(ctx, cell, rollouts, edit),
        attacks,
        _distinct(chain.from_iterable(_sources(task) for task in attacks)),
        renders,
        scores,
    )


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
    """Everything that an attempt is made from besides the edit, in order."""
    for need in task.needs:
        if need.stage is not Stage.EDIT:
            yield from _sources(need)
            yield need


def _distinct(tasks: Iterable[Task]) -> list[Task]:
    return list({task.key: task for task in tasks}.values())


def tasks(ctx: RunContext, cells: Sequence[Cell]) -> list[Task]:
    """All tasks of cells, each key once, each task after those that it needs."""
    return _distinct(chain.from_iterable(tasks_of_cell(ctx, cell).all() for cell in cells))
