"""How long work takes per unit: from what the store has done already, or timed on the spot.

Entries of edits, images and scores say in their manifests how many seconds they took; their mean
is taken, whichever machine it was on. What the store has none of is timed in a store that is thrown
away, through the stages themselves: a block of a few images, a few training steps of every
method, one scored block of every scorer, each after a first one that loads and warms up.

Extrapolated are blocks to their full length, training steps to their number, and what a method does
before its steps from a few pairs to all. A method without training steps is run whole.
"""

from __future__ import annotations

import statistics
import tempfile
import time
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

from varbench.conf.schema import plain
from varbench.data.erase_target import EraseTarget
from varbench.errors import UserError
from varbench.methods.base import Method, TrainingContext
from varbench.methods.registry import NONE, load_method
from varbench.methods.training.config import FineTuneConfig
from varbench.models import registry
from varbench.pipeline.context import RunContext
from varbench.pipeline.estimate.workload import StageWorkload, steers
from varbench.pipeline.plan import Cell
from varbench.pipeline.stages import generate
from varbench.pipeline.stages.attack import ATTACKED, COMPLETIONS
from varbench.pipeline.stages.probe import ROLLOUTS
from varbench.store import Entry, Store
from varbench.utils.progress import Bar, Progress

IMAGES, PAIRS, STEPS = 8, 8, 3
"""How much is timed: images of a block, pairs of an edit, and its steps, the first to warm up."""

DRAWN = ("pictures", ROLLOUTS, COMPLETIONS, ATTACKED)
"""Stages that make images, or at least sample them."""

RATED = ("edit", "pictures", "scores")
"""Stages that have a rate of their own."""


@dataclass(frozen=True)
class Rate:
    """Seconds per unit.

    Attributes:
        seconds: per edit, or per image made or scored.
        origin: where the figure comes from, in words.
    """

    seconds: float
    origin: str


Rates = Mapping[tuple[str, str], Rate]
"""By stage (`edit`, `images`, `scores`) and kind (see `StageWorkload.loads`)."""


def asked_rates(works: Sequence[StageWorkload]) -> list[tuple[str, str]]:
    """What must be known for an estimate."""
    wanted = [("pictures" if w.stage in DRAWN else w.stage, by) for w in works for by in w.loads]
    return [one for one in dict.fromkeys(wanted) if one[0] in RATED]


def rate_of(work: StageWorkload, by: str, rates: Rates) -> Rate | None:
    """The rate of one kind of a stage's work, if it is known."""
    return rates.get(("pictures" if work.stage in DRAWN else work.stage, by))


def seconds(work: StageWorkload, rates: Rates, block: int) -> float | None:
    """Estimate of a stage; None where a rate is not known.

    Args:
        work: the stage.
        rates: those that are known.
        block: images in a block; a shorter one is filled up and takes as long.
    """
    total = 0.0
    for by in work.loads:
        if (rate := rate_of(work, by, rates)) is None:
            return None
        total += rate.seconds * units(work, by, block)
    return total


def units(work: StageWorkload, by: str, block: int) -> int:
    """How many units of a kind are to be made, those that fill up a block among them."""
    load = work.loads[by]
    return load.entries * block if work.stage in DRAWN else load.items


def stored_rates(cells: Sequence[Cell], ctx: RunContext) -> dict[tuple[str, str], Rate]:
    """Means over what the store has of the same model, method and scorers.

    Raises:
        UserError: the model's files are missing, so that it has no fingerprint.
    """
    model = registry.fingerprint(cells[0].config.model)
    found: dict[tuple[str, str], list[float]] = {}

    def note(stage: str, by: str, entry: Entry, units: int) -> None:
        if (spent := entry.meta.get("seconds")) is not None:
            found.setdefault((stage, by), []).append(spent / units)

    methods = {cell.method: plain(cell.config.method) for cell in cells}
    for entry in ctx.store.entries("edit", verify=False):
        spec = entry.spec
        if spec["model"] == model and methods.get(spec["method"]) == spec["config"]:
            note("edit", spec["method"], entry, 1)
    for entry in ctx.store.entries("pictures", verify=False):
        if entry.spec["model"] == model:
            steering = entry.spec["steering"]
            note("pictures", steering["method"] if steering else "", entry, entry.spec["block"])
    for entry in ctx.store.entries("scores", verify=False):
        note("scores", entry.spec["scorer"], entry, len(entry.spec["prompts"]))
    return {
        one: Rate(statistics.mean(some), f"mean of {len(some)} in the store")
        for one, some in found.items()
    }


def timed_rates(
    cells: Sequence[Cell], ctx: RunContext, wanted: Sequence[tuple[str, str]]
) -> dict[tuple[str, str], Rate]:
    """Time what is wanted, as far as it can be done here; nothing stays.

    Args:
        cells: of one plan.
        shop: which device; its store is not touched.
        wanted: stages and kinds; scores need images, which are made.
    """
    with tempfile.TemporaryDirectory() as folder:
        timer = _Timer(cells, RunContext(Store(Path(folder)), Progress(), ctx.device), Path(folder))
        found = {}
        for stage, by in wanted:
            try:
                found[stage, by] = timer.time(stage, by)
            except UserError:  # a network is missing, or the model lacks what the method needs
                continue
        return found


class _Timer:
    def __init__(self, cells: Sequence[Cell], ctx: RunContext, folder: Path) -> None:
        self.cells, self.ctx, self.folder = cells, ctx, folder
        self.scored_by = {role: cell for cell in cells for role in ctx.instruments(cell).scorers}

    def time(self, stage: str, by: str) -> Rate:
        if stage == "edit":
            return self._edit(next(cell for cell in self.cells if cell.method == by))
        if stage == "pictures":
            cell = next(c for c in self.cells if (c.method if steers(c) else "") == by)
            _, entries = self._images(cell)
            made = entries[1].spec["block"]
            return Rate(entries[1].meta["seconds"] / made, f"{made} timed")
        cell = self.scored_by[by]
        unerased = next(c for c in self.cells if c.concept is cell.concept and c.method == NONE)
        blocks, entries = self._images(unerased)
        only = {by: self.ctx.instruments(cell).scorers[by]}
        scored = generate.score(self.ctx, only, entries, blocks)
        spent = scored[1][by].meta["seconds"]
        return Rate(spent / len(blocks[1]), f"{len(blocks[1])} timed")

    def _images(self, cell: Cell) -> tuple[list[list[Any]], list[Entry]]:
        """A block of one image, and one of several; drawn once."""
        cell = replace(cell, method=cell.method if steers(cell) else NONE)
        size = min(IMAGES, cell.config.model.batch)
        suite = replace(cell.config.suite, block=size)
        rows = [row for group in cell.groups().values() for row in group]
        blocks = [rows[:1], (rows[1:] * size)[:size] or rows[:1]]
        small = replace(cell, config=replace(cell.config, suite=suite))
        return blocks, generate.generate(self.ctx, small, None, blocks)

    def _edit(self, cell: Cell) -> Rate:
        method = load_method(cell.method)
        config: Any = cell.config.method
        assert isinstance(method, Method)
        train: Any = getattr(config, "train", None)
        model, watch = self.ctx.model(cell), _Stopwatch()
        place = TrainingContext(cell.seed, self.folder / "training.pt", watch)
        erased, pairs = cell.erased, len(cell.erased.pairs())
        if steps := train.steps if isinstance(train, FineTuneConfig) else 0:
            config = replace(config, train=replace(train, steps=min(STEPS, steps)))
            erased = EraseTarget(cell.erased.concepts, min(PAIRS, pairs))
        began = time.monotonic()
        method.erase(model, erased, config, place)
        spent = time.monotonic() - began
        if not watch.steps:
            return Rate(spent, "timed")
        each = statistics.median(watch.steps[1:] or watch.steps)
        before = (spent - sum(watch.steps)) * pairs / len(erased.pairs())
        return Rate(before + each * steps, f"{len(watch.steps)} steps timed, {each:.2g} s each")


class _Stopwatch(Progress):
    """Shows nothing; keeps how long each training step took."""

    def __init__(self) -> None:
        super().__init__()
        self.steps: list[float] = []

    @contextmanager
    def stage(self, name: str, total: int, done: int = 0) -> Iterator[Bar]:
        now = time.monotonic()
        yield _Lap(self, name, total, done, now, done, now)


class _Lap(Bar):
    def advance(self, amount: int = 1) -> None:
        now = time.monotonic()
        assert isinstance(self.owner, _Stopwatch)
        self.owner.steps.append(now - self.last_line)
        self.last_line = now
