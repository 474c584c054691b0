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
from varbench.pipeline.plan import Cell, Request, Row, blocks, plan
from varbench.pipeline.stages import generate
from varbench.pipeline.stages.attack import challenge
from varbench.pipeline.stages.generate import Workshop
from varbench.pipeline.stages.probe import probe
from varbench.store import Entry, digest

EDIT, PICTURES, PROBE, ATTACK, SCORE, REST = "edit", "pictures", "probe", "attack", "score", "rest"
_WHOLE = (EDIT, PROBE, ATTACK)
"""Stages with one long shard per cell. They are begun first: at the end of a run others would wait
for whoever got it."""


@dataclass(frozen=True)
class Shard:
    """A piece of work.

    Attributes:
        stage: of a run; "rest" is whatever of a cell no other shard did.
        cell: its number in the plan.
        block: number of a block over all groups of the cell, for pictures and scores.
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


def shards_of(request: Request, shop: Workshop) -> dict[Shard, frozenset[Shard]]:
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
        if run.finished_cell(shop, cell) is None:
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
        pictures, score = (Shard(stage, number, index) for stage in (PICTURES, SCORE))
        made |= {pictures: edit, score: frozenset([pictures])}
        scores.append(score)
    before = frozenset([] if number == base else [Shard(PROBE, base)])
    made[Shard(PROBE, number)] = edit | before
    made[Shard(ATTACK, number)] = edit
    last = [*scores, Shard(PROBE, number), Shard(ATTACK, number)]
    last += [] if number == base else [Shard(REST, base)]
    made[Shard(REST, number)] = frozenset(last)
    return made


def _todo(cell: Cell) -> list[list[Row]]:
    size = cell.config.suite.block
    return [block for rows in cell.groups().values() for block in blocks(rows, size)]


def perform(request: Request, shard: Shard, shop: Workshop) -> None:
    """Do one shard; what it needs must be in the store.

    Raises:
        Whatever the stage raises.
    """
    with generate.fixed_threads(cells_of(request)[shard.cell]):
        _perform(cells_of(request), shard, shop)


def _perform(cells: Sequence[Cell], shard: Shard, shop: Workshop) -> None:
    cell = cells[shard.cell]
    base = run.unerased(cells, cell)
    edit = _edit(cell, shop) if shard.stage != EDIT else generate.erase(shop, cell)
    if shard.stage in (PICTURES, SCORE):
        block = _todo(cell)[shard.block]
        pictures = generate.generate(shop, cell, edit, [block])
        if shard.stage == SCORE:
            generate.score(shop, shop.instruments(cell).scorers, pictures, [block])
    elif shard.stage == PROBE:
        probe(shop, cell, edit, None if cell.method == NONE else probe(shop, base, None, None))
    elif shard.stage == ATTACK:
        challenge(shop, cell, edit)
    elif shard.stage == REST:
        run.measure(shop, cell, None if cell.method == NONE else run.measure(shop, base))


def _edit(cell: Cell, shop: Workshop) -> Entry | None:
    spec = generate.edit_spec(cell)
    return None if spec is None else shop.store.get("edit", spec) or generate.erase(shop, cell)


def done(request: Request, shard: Shard, shop: Workshop) -> bool:
    """Whether the store surely has what an edit or a block of pictures would make."""
    cell = cells_of(request)[shard.cell]
    spec = generate.edit_spec(cell)
    if shard.stage == EDIT:
        return spec is not None and shop.store.get("edit", spec) is not None
    if shard.stage == PICTURES:
        key = None if spec is None else digest(spec)
        asked = generate.pictures_spec(cell, _todo(cell)[shard.block], key)
        return shop.store.get("pictures", asked) is not None
    return False
