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
from varbench.pipeline.outputs import AttackOutputs, CellOutputs, ProbeOutputs, StoredGroup
from varbench.pipeline.plan import Cell, Sample, batches
from varbench.pipeline.stages.attack import attacked_samples, attacked_tasks, completion_tasks
from varbench.pipeline.stages.compare import compare_tasks
from varbench.pipeline.stages.edit import edit_task, steers
from varbench.pipeline.stages.generate import images_task, sampling_spec
from varbench.pipeline.stages.probe import probe_tasks, probed_samples
from varbench.pipeline.stages.reference import FEATURES, reference_tasks
from varbench.pipeline.stages.rollouts import rollouts_tasks
from varbench.pipeline.stages.score import score_tasks
from varbench.pipeline.task import Task
from varbench.scoring.base import Scorer
from varbench.store import Entry, Stage


@dataclass(frozen=True)
class ScoredBatch:
    """Images of one batch and what scores and compares them, by role."""

    images: Task
    scores: Mapping[str, Task]


Groups = dict[str, list[ScoredBatch]]
"""Batches of each prompt group."""


@dataclass(frozen=True)
class CellTasks:
    """All entries of a cell but the cell itself.

    Attributes:
        cell: to which they belong.
        edit: None where no weight is changed.
        groups: images of the prompt groups, with their scores and distances.
        rollouts, probe: by batch over all probed groups.
        attacks: attacked and completed images, with their scores.
        attack_inputs: roll-outs and vectors that these are made from.
        reference: renders of the model's world, with their features.
    """

    cell: Cell
    edit: Task | None
    groups: Groups
    rollouts: Sequence[Task]
    probe: Sequence[Task]
    attacks: Groups
    attack_inputs: Sequence[Task]
    reference: Groups

    def all(self) -> list[Task]:
        """Each task after those that it needs, stage by stage."""
        scored = [*_flat(self.groups), *_flat(self.attacks)]
        scores = [task for batch in scored for task in batch.scores.values()]
        renders = _flat(self.reference)
        return [
            *([self.edit] if self.edit else []),
            *(batch.images for batch in _flat(self.groups)),
            *self.rollouts,
            *self.probe,
            *self.attack_inputs,
            *(batch.images for batch in _flat(self.attacks)),
            *(task for task in scores if task.stage is Stage.SCORES),
            *(task for task in scores if task.stage is Stage.COMPARE),
            *(batch.images for batch in renders),
            *(task for batch in renders for task in batch.scores.values()),
        ]

    def outputs(self, ctx: RunContext, entries: Mapping[str, Entry]) -> CellOutputs:
        """The outputs of the cell's model, from the entries of all tasks by key."""
        cell, settings = self.cell, self.cell.config.suite.robustness
        samples, aliases = attacked_samples(cell), {}
        if cell.method == NONE and samples and COMPLETION in ctx.evaluator(cell).required:
            # The base model's completions are its images.
            aliases = {completion_group(count): (TARGET, samples) for count in settings.scales}
        attack_inputs = dict.fromkeys(task.key for task in self.attack_inputs)
        return CellOutputs(
            entries[self.edit.key] if self.edit else None,
            stored_groups(self.groups, entries),
            ProbeOutputs(
                probed_samples(cell),
                [entries[task.key] for task in self.rollouts],
                [entries[task.key] for task in self.probe],
            ),
            AttackOutputs(
                stored_groups(self.attacks, entries),
                aliases,
                [entries[key] for key in attack_inputs],
            ),
        )


def stored_groups(groups: Groups, entries: Mapping[str, Entry]) -> dict[str, StoredGroup]:
    """The entries of scored batches, by prompt group."""
    return {
        name: StoredGroup(
            [list(batch.images.samples) for batch in group],
            [entries[batch.images.key] for batch in group],
            [{r: entries[task.key] for r, task in batch.scores.items()} for batch in group],
        )
        for name, group in groups.items()
    }


def _flat(groups: Groups) -> list[ScoredBatch]:
    return list(chain.from_iterable(groups.values()))


def tasks_of_cell(ctx: RunContext, cell: Cell) -> CellTasks:
    """The tasks of a cell."""
    evaluator, size = ctx.evaluator(cell), cell.config.suite.block
    edit = edit_task(ctx, cell)
    groups = {name: list(batches(samples, size)) for name, samples in cell.groups().items()}
    images, base = _images(ctx, cell, groups, edit), None
    if evaluator.comparers:
        base = images if cell.method == NONE else base_images(ctx, cell, groups)
    probed = list(chain.from_iterable(probed_samples(cell).values()))
    rollouts = [] if steers(cell) else rollouts_tasks(ctx, cell, list(batches(probed, size)))
    attacks = [*completion_tasks(ctx, cell, edit), *attacked_tasks(ctx, cell, edit)]
    attack_inputs = [n for task in attacks for n in _sources(task)]
    renders = reference_tasks(ctx, cell)
    features = {FEATURES: evaluator.scorers[FEATURES]} if renders else {}
    return CellTasks(
        cell,
        edit,
        scored_batches(ctx, cell, images, base),
        rollouts,
        probe_tasks(ctx, cell, rollouts, edit),
        _scored(ctx, cell, _by_label(attacks), evaluator.judge_scorers),
        _distinct(attack_inputs),
        _scored(ctx, cell, renders, features),
    )


def scored_batches(
    ctx: RunContext,
    cell: Cell,
    images: Mapping[str, Sequence[Task]],
    base: Mapping[str, Sequence[Task]] | None,
) -> Groups:
    """Images of prompt groups with all scores and distances that the cell's metrics need.

    Args:
        ctx, cell: the run context, and whose scorers they are.
        images: by group.
        base: the base model's of the same batches; None where nothing is compared.
    """
    evaluator = ctx.evaluator(cell)
    groups = _scored(ctx, cell, images, evaluator.scorers)
    if base is None or not evaluator.comparers:
        return groups
    own, theirs = (list(chain.from_iterable(some.values())) for some in (images, base))
    compared = iter(compare_tasks(ctx, cell, own, theirs, evaluator.comparers))
    return {
        name: [replace(batch, scores={**batch.scores, **next(compared)}) for batch in group]
        for name, group in groups.items()
    }


def base_images(
    ctx: RunContext, cell: Cell, groups: Mapping[str, Sequence[Sequence[Sample]]]
) -> dict[str, list[Task]]:
    """The base model's images of the same batches."""
    return _images(ctx, replace(cell, method=NONE), groups, None)


def _images(
    ctx: RunContext,
    cell: Cell,
    groups: Mapping[str, Sequence[Sequence[Sample]]],
    edit: Task | None,
) -> dict[str, list[Task]]:
    spec = sampling_spec(ctx, cell, edit)
    return {
        name: [images_task(cell, spec, batch, edit, name) for batch in group]
        for name, group in groups.items()
    }


def _scored(
    ctx: RunContext,
    cell: Cell,
    groups: Mapping[str, Sequence[Task]],
    scorers: Mapping[str, Scorer],
) -> Groups:
    return {
        name: [
            ScoredBatch(task, scores)
            for task, scores in zip(images, score_tasks(ctx, cell, images, scorers), strict=True)
        ]
        for name, images in groups.items()
    }


def _by_label(tasks: Iterable[Task]) -> dict[str, list[Task]]:
    groups: dict[str, list[Task]] = {}
    for task in tasks:
        groups.setdefault(task.label, []).append(task)
    return groups


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
