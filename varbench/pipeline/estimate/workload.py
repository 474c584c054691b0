"""The workload of a run: its tasks counted stage by stage, and what the store lacks of them.

Nothing is computed. Where the model's weights are missing they have no fingerprint, so the work is
counted and nothing can be looked up.

Disk: the size of an edit follows from shapes; an image, roll-out or score takes the mean of those
in the store, and before the first of them what follows from shapes, if anything does. Left out:
text features (some ten kilobytes per prompt), the probe's predictions, cells and manifests.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, field

from varbench.errors import UserError
from varbench.methods.training.config import FineTuneConfig
from varbench.pipeline.context import RunContext
from varbench.pipeline.estimate.memory import MemoryEstimate, Training, TrainingEstimate
from varbench.pipeline.graph import tasks
from varbench.pipeline.plan import Cell
from varbench.pipeline.record import cell_spec
from varbench.pipeline.task import Task
from varbench.store import Entry, Stage, Store, digest

_RENDERED = (Stage.IMAGES, Stage.COMPLETIONS, Stage.ATTACKED, Stage.REFERENCE)
_COUNTED = {
    Stage.EDIT: (), Stage.ATTACK: (), Stage.CELL: (), Stage.PROBE: (), Stage.COMPARE: (),
    Stage.REFERENCE: ("world",), Stage.SCORES: ("scorer", "version", "weights"),
}  # fmt: skip
"""Fields of the spec that entries of one size share, where it is not the model alone."""


@dataclass(frozen=True)
class Amount:
    """Work of one kind that is to be done.

    Attributes:
        entries: of the store, such as batches of images.
        items: in them.
    """

    entries: int = 0
    items: int = 0

    def plus(self, items: int) -> Amount:
        """With one entry more."""
        return Amount(self.entries + 1, self.items + items)


@dataclass(frozen=True)
class StageWorkload:
    """One stage of a run.

    Attributes:
        stage: its name, as in ``docs/architecture.md``.
        parts: what the number is made of, in words.
        required: edits, images, prompts, scored items or cells, each counted once.
        cached: those that the store has; None where it cannot be looked up.
        disk: bytes that the rest will take; None if unknown.
        bound: whether ``disk`` is the most it can be instead of an estimate.
        loads: what is to do by what its time depends on: the method of edits and of images that
            are steered, the scorer's role; "" where the stage says it all.
    """

    stage: str
    parts: str
    required: int
    cached: int | None
    disk: int | None = None
    bound: bool = False
    loads: Mapping[str, Amount] = field(default_factory=dict)

    @property
    def todo(self) -> int:
        """Items that the store lacks; all of them where it cannot be looked up."""
        return self.required - (self.cached or 0)


@dataclass(frozen=True)
class RunEstimate:
    """A run before it happens.

    Attributes:
        stages: those that have something to do or have it done, in the order of a run.
        scratch: bytes of disk that the largest training needs for a while besides.
    """

    stages: tuple[StageWorkload, ...]
    scratch: int


def fine_tuning(cell: Cell) -> Training | None:
    """The fine-tuning of a cell's method; None for methods of other kinds."""
    config = getattr(cell.config.method, "train", None)
    if not isinstance(config, FineTuneConfig):
        return None
    return Training(config, len(cell.erased.pairs()))


def run_estimate(
    cells: Sequence[Cell], ctx: RunContext, weights_found: bool, memory: MemoryEstimate | None
) -> RunEstimate:
    """Count the tasks of cells, and those of them that the store has.

    Args:
        cells: of one plan.
        ctx: whose store is looked into; no model is loaded.
        weights_found: whether the model has a fingerprint, by which entries are looked up.
        memory: sizes of images, roll-outs and edits, if they could be counted.
    """
    ctx = RunContext(ctx.store, ctx.progress, ctx.device, dry_run=True)
    by_stage: dict[Stage, list[Task]] = {}
    for task in tasks(ctx, cells):
        by_stage.setdefault(task.stage, []).append(task)
    stages, scratch = [], 0
    for stage in Stage:
        some = by_stage.get(stage, [])
        if stage is Stage.EDIT and some:
            workload, scratch = _edits(ctx.store, some, weights_found, memory)
            stages.append(workload)
        elif some:
            stages.append(_workload(ctx.store, stage, some, weights_found, memory))
    return RunEstimate((*stages, _cells(cells, ctx, weights_found)), scratch)


def _edits(
    store: Store, edits: Sequence[Task], weights_found: bool, memory: MemoryEstimate | None
) -> tuple[StageWorkload, int]:
    """The edits, and the disk that the largest training needs besides."""
    missing = [task for task in edits if store.find(task.stage, task.key, verify=False) is None]
    disk, scratch, bound = 0, 0, False
    for task in missing if memory else ():
        assert memory is not None
        training = fine_tuning(task.cell)
        need = memory.needs(training) if training else None
        if isinstance(need, TrainingEstimate):
            disk, scratch = disk + need.edit, max(scratch, need.checkpoint)
        else:
            disk, bound = disk + memory.generation.weights, True
    names = ", ".join(dict.fromkeys(task.label for task in edits))
    cached = len(edits) - len(missing) if weights_found else None
    size = disk if memory else None
    return StageWorkload(
        Stage.EDIT, names, len(edits), cached, size, bound, _loads(missing)
    ), scratch


def _workload(
    store: Store,
    stage: Stage,
    some: Sequence[Task],
    weights_found: bool,
    memory: MemoryEstimate | None,
) -> StageWorkload:
    entries = {entry.key: entry for entry in store.entries(stage, verify=False)}
    missing = [task for task in some if task.key not in entries]
    required = sum(task.items for task in some)
    means = _bytes_per_item(stage, entries.values())
    sizes = [means.get(_kind(stage, task.spec), _from_shapes(stage, memory)) for task in missing]
    pairs = zip(missing, sizes, strict=True)
    disk = None if None in sizes else sum(t.items * size for t, size in pairs if size is not None)
    known = {_kind(stage, task.spec) for task in some} <= means.keys()
    cached = required - sum(task.items for task in missing)
    return StageWorkload(
        stage,
        _parts(stage, some),
        required,
        cached if weights_found else None,
        None if disk is None else round(disk),
        stage in _RENDERED and not known,
        _loads(missing),
    )


def _parts(stage: Stage, some: Iterable[Task]) -> str:
    counts: dict[str, int] = {}
    for task in some:
        counts[task.label] = counts.get(task.label, 0) + task.items
    if stage is Stage.SCORES:
        return ", ".join(counts)
    return ", ".join(f"{label} {count}" for label, count in counts.items())


def _loads(missing: Iterable[Task]) -> dict[str, Amount]:
    loads: dict[str, Amount] = {}
    for task in missing:
        loads[task.cost] = loads.get(task.cost, Amount()).plus(task.items)
    return loads


def _kind(stage: Stage, spec: Mapping[str, object]) -> tuple[object, ...]:
    """Equal for entries whose items take about as many bytes."""
    return tuple(spec.get(name) for name in _COUNTED.get(stage, ("model",)))


def _bytes_per_item(stage: Stage, entries: Iterable[Entry]) -> dict[tuple[object, ...], float]:
    """Mean size of an item by kind, over all entries of a stage."""
    if not _COUNTED.get(stage, ("model",)):
        return {}
    sizes: dict[tuple[object, ...], list[int]] = {}
    for entry in entries:
        total = sizes.setdefault(_kind(stage, entry.spec), [0, 0])
        total[0] += sum(file.size for file in entry.files.values())
        total[1] += len(entry.spec.get("prompts") or entry.spec["rows"])
    return {kind: size / items for kind, (size, items) in sizes.items() if items}


def _from_shapes(stage: Stage, memory: MemoryEstimate | None) -> float | None:
    """Bytes of an item before the first one is there."""
    if stage in _RENDERED:
        return memory.image if memory else None
    if stage is Stage.ROLLOUTS:
        return memory.rollout if memory else None
    # Two numbers of four bytes for each comparison; the probe and attacks leave a few kilobytes.
    return {Stage.PROBE: 0, Stage.ATTACK: 0, Stage.COMPARE: 8}.get(stage)


def _cells(cells: Sequence[Cell], ctx: RunContext, weights_found: bool) -> StageWorkload:
    recorded = sum(_recorded(ctx, cell) for cell in cells) if weights_found else 0
    names = ", ".join(dict.fromkeys(cell.method for cell in cells))
    left = len(cells) - recorded
    cached = recorded if weights_found else None
    return StageWorkload(Stage.CELL, names, len(cells), cached, loads={"": Amount(left, left)})


def _recorded(ctx: RunContext, cell: Cell) -> bool:
    try:
        spec = cell_spec(ctx, cell)
    except UserError:  # a network's file is missing, and with it the fingerprint
        return False
    return ctx.store.find(Stage.CELL, digest(spec), verify=False) is not None
