"""Time of a run: seconds per unit, from entries of the store or measured on the spot.

Entries of edits, images and scores say in their manifests how many seconds they took; their mean
is taken, whichever machine it was on. What the store has none of is timed in a store that is thrown
away, by tasks like those of the run: a batch of a few images, a few training steps of every
method, one scored batch of every scorer, each after a first one that loads and warms up.

Extrapolated are batches to their full length, training steps to their number, and what a method
does before its steps from a few pairs to all. A method without training steps is run whole.
"""

from __future__ import annotations

import statistics
import tempfile
import time
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from itertools import pairwise
from pathlib import Path
from typing import Any

from varbench.conf.schema import plain
from varbench.data.concept import EraseTarget
from varbench.errors import UserError
from varbench.methods.base import Method, TrainingContext
from varbench.methods.registry import NONE, load_method
from varbench.methods.training.config import FineTuneConfig
from varbench.pipeline.context import RunContext
from varbench.pipeline.estimate.workload import StageWorkload
from varbench.pipeline.graph import score_list
from varbench.pipeline.plan import Cell, base_cell
from varbench.pipeline.stages.generate import images_task, sampling_spec
from varbench.pipeline.stages.score import score_tasks
from varbench.pipeline.task import RateKey, Task, perform
from varbench.store import Entry, Stage, Store
from varbench.utils.progress import Progress

IMAGES, PAIRS, STEPS = 8, 8, 3
"""Images of a timed batch, pairs of a timed edit and its steps, the first to warm up."""


@dataclass(frozen=True)
class Rate:
    """Seconds per edit, or per image made or scored, and where the figure comes from, in words."""

    seconds: float
    origin: str


def required_rates(works: Sequence[StageWorkload]) -> list[RateKey]:
    """The rates that an estimate needs; whatever samples images has that of images."""
    keys = dict.fromkeys(key for work in works for key in work.loads)
    return [key for key in keys if key[0] in (Stage.EDIT, Stage.IMAGES, Stage.SCORES)]


def seconds(work: StageWorkload, rates: Mapping[RateKey, Rate]) -> float | None:
    """Estimate of a stage; None where a rate is not known."""
    if not work.loads.keys() <= rates.keys():
        return None
    return sum(rates[key].seconds * units for key, units in work.loads.items())


def stored_rates(cells: Sequence[Cell], ctx: RunContext) -> dict[RateKey, Rate]:
    """Means over what the store has of the same model, method and scorers.

    Raises:
        UserError: the model's files are missing, so that it has no fingerprint.
    """
    model = ctx.fingerprint(cells[0])
    spent: dict[RateKey, list[float]] = {}

    def note(stage: Stage, cost: str, entry: Entry, count: int) -> None:
        if (seconds := entry.meta.get("seconds")) is not None:
            spent.setdefault((stage, cost), []).append(seconds / count)

    methods = {cell.method: plain(cell.config.method) for cell in cells}
    for entry in ctx.store.entries(Stage.EDIT, verify=False):
        spec = entry.spec
        if spec["model"] == model and methods.get(spec["method"]) == spec["config"]:
            note(Stage.EDIT, spec["method"], entry, 1)
    for entry in ctx.store.entries(Stage.IMAGES, verify=False):
        if entry.spec.get("model") == model:  # external images have none
            steering = entry.spec["steering"]
            note(Stage.IMAGES, steering["method"] if steering else "", entry, entry.spec["block"])
    for entry in ctx.store.entries(Stage.SCORES, verify=False):
        note(Stage.SCORES, entry.spec["scorer"], entry, len(entry.spec["prompts"]))
    return {
        kind: Rate(statistics.mean(seconds), f"mean of {len(seconds)} in the store")
        for kind, seconds in spent.items()
    }


def timed_rates(
    cells: Sequence[Cell], ctx: RunContext, required: Sequence[RateKey]
) -> dict[RateKey, Rate]:
    """Time one task of each kind on the context's device, as far as it can be done here.

    Nothing stays: its store is not touched, and the images that scores need are thrown away.
    """
    with tempfile.TemporaryDirectory() as folder:
        timer = _Timer(cells, RunContext(Store(Path(folder)), device=ctx.device), Path(folder))
        rates = {}
        for stage, cost in required:
            try:
                rates[stage, cost] = timer.time(stage, cost)
            except UserError:  # a network is missing, or the model lacks what the method needs
                continue
        return rates


class _Timer:
    def __init__(self, cells: Sequence[Cell], ctx: RunContext, folder: Path) -> None:
        self.cells, self.ctx, self.folder = cells, ctx, folder
        self.scored_by = {role: cell for cell in cells for role in ctx.evaluator(cell).scorers}

    def time(self, stage: str, cost: str) -> Rate:
        if stage == Stage.EDIT:
            return self._edit(next(cell for cell in self.cells if cell.method == cost))
        if stage == Stage.IMAGES:
            cell = next(c for c in self.cells if (c.method if c.steers else "") == cost)
            return self._second(self._images(cell))
        cell = self.scored_by[cost]
        images = self._images(base_cell(self.cells, cell))
        perform(self.ctx, images)
        only = {cost: self.ctx.evaluator(cell).scorers[cost]}
        return self._second(score_list(score_tasks(self.ctx, cell, images, only)))

    def _second(self, tasks: Sequence[Task]) -> Rate:
        """The rate of the second task, after the first has loaded and warmed up."""
        entry = perform(self.ctx, tasks)[tasks[1].key]
        count = tasks[1].items
        return Rate(entry.meta["seconds"] / count, f"{count} timed")

    def _images(self, cell: Cell) -> list[Task]:
        """A batch of one image, and one of several."""
        cell = replace(cell, method=cell.method if cell.steers else NONE)
        size = min(IMAGES, cell.config.model.batch)
        suite = replace(cell.config.suite, block=size)
        samples = [sample for group in cell.groups().values() for sample in group]
        batches = [samples[:1], (samples[1:] * size)[:size] or samples[:1]]
        small = replace(cell, config=replace(cell.config, suite=suite))
        spec = sampling_spec(self.ctx, small, None)
        return [images_task(small, spec, batch, None) for batch in batches]

    def _edit(self, cell: Cell) -> Rate:
        method = load_method(cell.method)
        config: Any = cell.config.method
        assert isinstance(method, Method)
        train: Any = getattr(config, "train", None)
        model = self.ctx.model(cell)
        ends: list[tuple[float, bool]] = []  # of training steps; True where they begin
        progress = Progress(log=lambda *state: ends.append((time.monotonic(), state[-1])))
        context = TrainingContext(cell.seed, self.folder / "training.pt", progress)
        erased, pairs = cell.erased, len(cell.erased.pairs())
        if steps := train.steps if isinstance(train, FineTuneConfig) else 0:
            config = replace(config, train=replace(train, steps=min(STEPS, steps)))
            erased = EraseTarget(cell.erased.concepts, min(PAIRS, pairs))
        began = time.monotonic()
        method.erase(model, erased, config, context)
        spent = time.monotonic() - began
        timed = [end - start for (start, _), (end, begins) in pairwise(ends) if not begins]
        if not timed:
            return Rate(spent, "timed")
        each = statistics.median(timed[1:] or timed)
        before = (spent - sum(timed)) * pairs / len(erased.pairs())
        return Rate(before + each * steps, f"{len(timed)} steps timed, {each:.2g} s each")
