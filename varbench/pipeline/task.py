"""Tasks: one entry of the store each, with all that is needed to find or compute it.

The key of a task is the digest of its spec, and a spec names what it needs by key, so that all
tasks of a run are known before anything is computed.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from functools import cached_property, partial
from itertools import groupby
from typing import Any

from varbench.pipeline import provenance
from varbench.pipeline.context import RunContext, deterministic_threads
from varbench.pipeline.plan import Cell, Sample
from varbench.store import Entry, Stage, Writer, cached, digest

SAMPLING = frozenset({Stage.IMAGES, Stage.ROLLOUTS, Stage.COMPLETIONS, Stage.ATTACKED})
"""Stages that sample images."""
_TITLES = {
    Stage.IMAGES: "generate", Stage.SCORES: "score",
    Stage.COMPLETIONS: "robustness", Stage.ATTACKED: "robustness",
}  # fmt: skip
_SINGLE = {Stage.EDIT, Stage.ATTACK}  # one item each; long ones show their own steps


RateKey = tuple[Stage, str]
"""A stage, and its method or scorer; "" where the stage says it all."""
Compute = Callable[[RunContext, "Task", Sequence[Entry], Writer], None]
"""Writes the entry of a task from the entries that it needs, in the order of `Task.needs`."""


@dataclass(frozen=True, eq=False)
class Task:
    """One entry, in the store or to be computed.

    Attributes:
        stage: of the entry.
        spec: what decides the entry; its digest is the key.
        cell: whose model, method and scorers compute it.
        compute: writes the entry.
        samples: the prompts and seeds that it covers, in the order of its files or arrays.
        needs: tasks whose entries it is computed from.
        label: under which a plan counts it: method, prompt group or scorer.
        exact: no device decides its bits, as with renders of a model's world and imported files.
    """

    stage: Stage
    spec: Mapping[str, Any]
    cell: Cell
    compute: Compute
    samples: Sequence[Sample] = ()
    needs: tuple[Task, ...] = ()
    label: str = ""
    exact: bool = False

    def __str__(self) -> str:
        cell = self.cell
        return f"{self.stage} {self.key[:12]} ({cell.method} on {cell.label}, seed {cell.seed})"

    @cached_property
    def key(self) -> str:
        """Key of the entry."""
        return digest(self.spec)

    @property
    def items(self) -> int:
        """Images, scored images, edits and so on that the entry holds."""
        return 1 if self.stage in _SINGLE else len(self.samples)

    @property
    def rate_key(self) -> RateKey:
        """Tasks of one key take equally long per item; all images are sampled at one rate."""
        if self.stage in SAMPLING:
            return Stage.IMAGES, self.cell.method if self.cell.steers else ""
        return self.stage, self.label if self.stage in (Stage.EDIT, Stage.SCORES) else ""

    def entry(self, ctx: RunContext) -> Entry:
        """The entry; if the store lacks it, it is computed, and before it what it needs."""
        if entry := Lookup(ctx.store.find).find(self):
            return entry
        inputs = [need.entry(ctx) for need in self.needs]  # before any weights are swapped for it
        device = None if self.exact else provenance.device_name(ctx.device)
        compute = partial(self.compute, ctx, self, inputs)
        with deterministic_threads(self.cell):
            return cached(ctx.store, self.stage, self.spec, compute, inputs, device)


class Lookup:
    """Entries of tasks, each looked up once.

    An entry that was computed from other contents than its task's needs have now counts as missing;
    needs that are missing themselves contradict nothing.

    Args:
        look: gives the entry of a stage and key, or None.
    """

    def __init__(self, look: Callable[[str, str], Entry | None]) -> None:
        self.look = look
        self.entries: dict[str, Entry | None] = {}

    def find(self, task: Task) -> Entry | None:
        """The entry of a task, or None."""
        if task.key not in self.entries:
            entry = self.look(task.stage, task.key)
            if entry is not None:
                needs = [need for task in task.needs if (need := self.find(task)) is not None]
                entry = entry if entry.computed_from(needs) else None
            self.entries[task.key] = entry
        return self.entries[task.key]


def of_stage(inputs: Sequence[Entry], stage: Stage) -> list[Entry]:
    """The entries of a stage among those that a task needs."""
    return [entry for entry in inputs if entry.stage == stage]


def edit_of(inputs: Sequence[Entry]) -> Entry | None:
    """The edit that a task is computed with; None for the base model."""
    return next(iter(of_stage(inputs, Stage.EDIT)), None)


def perform(ctx: RunContext, tasks: Sequence[Task]) -> dict[str, Entry]:
    """Entries by key, computed where the store lacks them; each task comes after its needs."""
    found = Lookup(ctx.store.find)
    for title, some in groupby(tasks, lambda task: _TITLES.get(task.stage, str(task.stage))):
        group = list(some)
        missing = [task for task in group if found.find(task) is None]
        if not missing:
            continue
        if missing[0].stage in SAMPLING | {Stage.PROBE, Stage.ATTACK}:
            prompts = [sample.prompt.text for task in missing for sample in task.samples]
            ctx.prepare_text(missing[0].cell, prompts)
        if missing[0].stage in _SINGLE:
            found.entries |= {task.key: task.entry(ctx) for task in missing}
            continue
        total = sum(task.items for task in group)
        done = total - sum(task.items for task in missing)
        with ctx.progress.stage(title, total, done) as bar:
            for task in missing:
                found.entries[task.key] = task.entry(ctx)
                bar.advance(task.items)
    return {task.key: entry for task in tasks if (entry := found.entries[task.key]) is not None}
