"""A run in shards: pieces of stages that processes can do side by side, each in order of its needs.

A shard names its work by the request and by numbers into the plan of it, so it is a few bytes; what
it makes goes into the store and nowhere else. Doing one again finds it done.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from functools import lru_cache

from varbench.methods.registry import NONE
from varbench.pipeline import run
from varbench.pipeline.context import RunContext
from varbench.pipeline.plan import Cell, Request, Sample, blocks, plan
from varbench.pipeline.stages import generate
from varbench.pipeline.stages.attack import run_attacks
from varbench.pipeline.stages.probe import probe
from varbench.store import Entry, digest

EDIT, IMAGES, PROBE, ATTACK, SCORE, REST = "edit", "pictures", "probe", "attack", "score", "rest"
_WHOLE = (EDIT, PROBE, ATTACK)
"""Stages with one long shard per cell. They are begun first: at the end of a run others would wait
for whoever got it."""


@dataclass(frozen=True)
class Shard:
    """A piece of work.

    Attributes:
        stage: of a run; "rest" is whatever of a cell no other shard did.
        cell: its number in the plan.
        block: number of a block over all groups of the cell, for images and scores.
    """

    stage: str
    cell: int
    block: int = -1

    def __str__(self) -> str:
        at = f", block {self.block}" if self.block >= 0 else ""
        return f"{self.stage} of cell {self.cell}{at}"


@lru_cache(maxsize=8)
def cells_of(request: Request) -> tuple[Cell, ...]:
    """The plan of a request, made once per process."""
    return tuple(plan(request))


def shards_of(request: Request, ctx: RunContext) -> dict[Shard, frozenset[Shard]]:
    """All shards of the cells that are not finished, in the order in which to begin them.

    Args:
        request: the run.
        shop: whose store is asked what is there.

    Returns:
        To each shard those that it needs.
    """
    cells = cells_of(request)
    found: dict[Shard, frozenset[Shard]] = {}
    for number, cell in enumerate(cells):
        if run.finished_cell(ctx, cell) is None:
            for one in {cells.index(run.unerased(cells, cell)), number}:
                if Shard(REST, one) not in found:
                    found |= _of_a_cell(cells, one)
    return dict(sorted(found.items(), key=lambda one: one[0].stage not in _WHOLE))


def _of_a_cell(cells: Sequence[Cell], number: int) -> dict[Shard, frozenset[Shard]]:
    cell, base = cells[number], cells.index(run.unerased(cells, cells[number]))
    spec = generate.edit_spec(cell)
    edit = frozenset([Shard(EDIT, number)] if spec else [])
    made: dict[Shard, frozenset[Shard]] = {one: frozenset() for one in edit}
    scores = []
    for index in range(len(_todo(cell))):
        images, score = (Shard(stage, number, index) for stage in (IMAGES, SCORE))
        made |= {images: edit, score: frozenset([images])}
        scores.append(score)
    before = frozenset([] if number == base else [Shard(PROBE, base)])
    made[Shard(PROBE, number)] = edit | before
    made[Shard(ATTACK, number)] = edit
    last = [*scores, Shard(PROBE, number), Shard(ATTACK, number)]
    last += [] if number == base else [Shard(REST, base)]
    made[Shard(REST, number)] = frozenset(last)
    return made


def _todo(cell: Cell) -> list[list[Sample]]:
    size = cell.config.suite.block
    return [block for rows in cell.groups().values() for block in blocks(rows, size)]


def perform(request: Request, shard: Shard, ctx: RunContext) -> None:
    """Do one shard; what it needs must be in the store.

    Raises:
        Whatever the stage raises.
    """
    with generate.deterministic_threads(cells_of(request)[shard.cell]):
        _perform(cells_of(request), shard, ctx)


def _perform(cells: Sequence[Cell], shard: Shard, ctx: RunContext) -> None:
    cell = cells[shard.cell]
    base = run.unerased(cells, cell)
    edit = _edit(cell, ctx) if shard.stage != EDIT else generate.erase(ctx, cell)
    if shard.stage in (IMAGES, SCORE):
        block = _todo(cell)[shard.block]
        images = generate.generate(ctx, cell, edit, [block])
        if shard.stage == SCORE:
            generate.score(ctx, ctx.instruments(cell).scorers, images, [block])
    elif shard.stage == PROBE:
        probe(ctx, cell, edit, None if cell.method == NONE else probe(ctx, base, None, None))
    elif shard.stage == ATTACK:
        run_attacks(ctx, cell, edit)
    elif shard.stage == REST:
        run.measure(ctx, cell, None if cell.method == NONE else run.measure(ctx, base))


def _edit(cell: Cell, ctx: RunContext) -> Entry | None:
    spec = generate.edit_spec(cell)
    return None if spec is None else ctx.store.get("edit", spec) or generate.erase(ctx, cell)


def done(request: Request, shard: Shard, ctx: RunContext) -> bool:
    """Whether the store surely has what an edit or a block of images would make."""
    cell = cells_of(request)[shard.cell]
    spec = generate.edit_spec(cell)
    if shard.stage == EDIT:
        return spec is not None and ctx.store.get("edit", spec) is not None
    if shard.stage == IMAGES:
        key = None if spec is None else digest(spec)
        asked = generate.images_spec(cell, _todo(cell)[shard.block], key)
        return ctx.store.get("pictures", asked) is not None
    return False
