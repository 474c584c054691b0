"""The workload of a run: its tasks counted stage by stage, and what the store lacks of them.

Nothing is computed. Where the model's weights are missing they have no fingerprint, so the work is
counted and nothing can be looked up.

Disk: the size of an edit follows from shapes; an image, roll-out or score takes the mean of those
in the store, and before the first of them what follows from shapes, if anything does. Left out:
text features (some ten kilobytes per prompt), the probe's predictions, cells and manifests.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, field, replace
from typing import Any

from varbench.errors import UserError
from varbench.methods.training.config import FineTuneConfig
from varbench.pipeline.context import UNKNOWN, RunContext
from varbench.pipeline.estimate.memory import MemoryEstimate, Training
from varbench.pipeline.estimate.training_memory import TrainingMemory
from varbench.pipeline.graph import tasks
from varbench.pipeline.plan import Cell
from varbench.pipeline.record import cell_spec, recorded
from varbench.pipeline.task import SAMPLING, Lookup, RateKey, Task
from varbench.store import Entry, Stage

_RENDERED = (Stage.IMAGES, Stage.COMPLETIONS, Stage.ATTACKED, Stage.REFERENCE)
_FIXED = {Stage.PROBE: 0, Stage.ATTACK: 0, Stage.COMPARE: 8}
"""Bytes of an item: a few kilobytes in all, or two numbers of four bytes for each comparison."""


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
        scratch: bytes of disk that the largest training needs for a while besides.
        loads: items to do, by what their time depends on; sampled images with those that fill up a
            batch.
    """

    stage: str
    parts: str
    required: int
    cached: int | None
    disk: int | None = None
    bound: bool = False
    scratch: int = 0
    loads: Mapping[RateKey, int] = field(default_factory=dict)

    @property
    def todo(self) -> int:
        """Items that the store lacks; all of them where it cannot be looked up."""
        return self.required - (self.cached or 0)


def fine_tuning(cell: Cell) -> Training | None:
    """The fine-tuning of a cell's method; None for methods of other kinds."""
    config = getattr(cell.config.method, "train", None)
    if not isinstance(config, FineTuneConfig):
        return None
    hashable = replace(config, parts=tuple(config.parts))  # Hydra makes a list of them
    return Training(hashable, len(cell.erased.pairs()))


def run_workload(
    cells: Sequence[Cell], ctx: RunContext, memory: MemoryEstimate | None = None
) -> list[StageWorkload]:
    """Count the tasks of cells, and those of them that the store has.

    The context's store is looked into, and no model is loaded. `memory` has sizes of images,
    roll-outs and edits, if they could be counted.

    Returns:
        Stages that have something to do or have it done, in the order of a run.
    """
    ctx = RunContext(ctx.store, ctx.progress, ctx.device, dry_run=True)
    by_stage: dict[Stage, list[Task]] = {}
    for task in tasks(ctx, cells):
        by_stage.setdefault(task.stage, []).append(task)
    stored = {s: {e.key: e for e in ctx.store.entries(s, verify=False)} for s in by_stage}
    lookup = Lookup(lambda stage, key: stored[Stage(stage)].get(key))
    works = []
    for stage in (stage for stage in Stage if stage in by_stage):
        missing = [task for task in by_stage[stage] if lookup.find(task) is None]
        entries = stored[stage].values()
        works.append(_workload(ctx, by_stage[stage], missing, entries, memory))
    return [*works, _cells(ctx, cells)]


def _workload(
    ctx: RunContext,
    some: Sequence[Task],
    missing: Sequence[Task],
    entries: Iterable[Entry],
    memory: MemoryEstimate | None,
) -> StageWorkload:
    stage = some[0].stage
    required, todo = (sum(task.items for task in part) for part in (some, missing))
    work = StageWorkload(
        stage,
        _parts(stage, some),
        required,
        required - todo if ctx.fingerprint(some[0].cell) != UNKNOWN else None,
        loads=_loads(missing),
    )
    if stage is Stage.EDIT:
        return replace(work, **_disk_of_edits(missing, memory)) if memory else work
    if stage in _FIXED:
        return replace(work, disk=todo * _FIXED[stage])
    means, guess = _bytes_per_item(entries), _from_shapes(stage, memory)
    sizes = [means.get(_kind(stage, task.spec), guess) for task in missing]
    known = {_kind(stage, task.spec) for task in some} <= means.keys()
    bound = stage in _RENDERED and not known
    if None in sizes:
        return replace(work, bound=bound)
    pairs = zip(missing, sizes, strict=True)
    disk = sum(task.items * size for task, size in pairs if size is not None)
    return replace(work, disk=round(disk), bound=bound)


def _disk_of_edits(missing: Iterable[Task], memory: MemoryEstimate) -> dict[str, Any]:
    disk, scratch, bound = 0, 0, False
    for task in missing:
        training = fine_tuning(task.cell)
        need = memory.training[training] if training else None
        if isinstance(need, TrainingMemory):
            disk, scratch = disk + need.edit, max(scratch, need.checkpoint)
        else:
            disk, bound = disk + memory.generation.weights, True
    return {"disk": disk, "scratch": scratch, "bound": bound}


def _parts(stage: Stage, some: Iterable[Task]) -> str:
    counts: Counter[str] = Counter()
    for task in some:
        counts[task.label] += task.items
    if stage in (Stage.EDIT, Stage.SCORES):
        return ", ".join(counts)
    return ", ".join(f"{label} {count}" for label, count in counts.items())


def _loads(missing: Iterable[Task]) -> Mapping[RateKey, int]:
    loads: Counter[RateKey] = Counter()
    for task in missing:
        filled = task.cell.config.suite.block if task.stage in SAMPLING else task.items
        loads[task.rate_key] += filled
    return loads


def _kind(stage: str, spec: Mapping[str, object]) -> tuple[object, ...]:
    """Equal for entries whose items take about as many bytes."""
    fields = {
        Stage.REFERENCE: ("world",), Stage.SCORES: ("scorer", "version", "weights"),
    }.get(Stage(stage), ("model",))  # fmt: skip
    return tuple(spec.get(name) for name in fields)


def _bytes_per_item(entries: Iterable[Entry]) -> dict[tuple[object, ...], float]:
    """Mean size of an item by kind, over all entries of a stage."""
    sizes: dict[tuple[object, ...], list[int]] = {}
    for entry in entries:
        total = sizes.setdefault(_kind(entry.stage, entry.spec), [0, 0])
        total[0] += sum(file.size for file in entry.files.values())
        total[1] += len(entry.spec.get("prompts") or entry.spec["rows"])
    return {kind: size / items for kind, (size, items) in sizes.items() if items}


def _from_shapes(stage: Stage, memory: MemoryEstimate | None) -> float | None:
    """Bytes of an item before the first one is there."""
    if memory is None:
        return None
    return {Stage.ROLLOUTS: memory.rollout, **dict.fromkeys(_RENDERED, memory.image)}.get(stage)


def _cells(ctx: RunContext, cells: Sequence[Cell]) -> StageWorkload:
    cached = None
    if ctx.fingerprint(cells[0]) != UNKNOWN:
        cached = sum(_recorded(ctx, cell) for cell in cells)
    names = ", ".join(dict.fromkeys(cell.method for cell in cells))
    loads = {(Stage.CELL, ""): len(cells) - (cached or 0)}
    return StageWorkload(Stage.CELL, names, len(cells), cached, loads=loads)


def _recorded(ctx: RunContext, cell: Cell) -> bool:
    try:
        spec = cell_spec(ctx, cell)
    except UserError:  # a network's file is missing, and with it the fingerprint
        return False
    return recorded(ctx.store, spec, cell.groups(), verify=False) is not None
