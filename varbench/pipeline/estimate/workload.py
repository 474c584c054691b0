"""One stage's work before it is done, and what kind of method a cell has."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field

from varbench.methods.base import SamplingMethod
from varbench.methods.registry import NONE, load_method
from varbench.methods.training.config import FineTuneConfig
from varbench.pipeline.estimate.memory import Training
from varbench.pipeline.plan import Cell


@dataclass(frozen=True)
class Amount:
    """Work of one kind that is to be done.

    Attributes:
        entries: of the store, such as blocks of images.
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
        what: what the number is made of.
        asked: edits, images, prompts, scored items or cells, each counted once.
        held: those that the store has; None where it cannot be asked.
        disk: bytes that the rest will take; None where nobody can tell.
        bound: whether ``disk`` is the most it can be instead of an estimate.
        loads: what is to do by what its time goes by: the method of edits and of images that
            are steered, the scorer's role; "" where the stage says it all.
    """

    stage: str
    what: str
    asked: int
    held: int | None
    disk: int | None = None
    bound: bool = False
    loads: Mapping[str, Amount] = field(default_factory=dict)

    @property
    def todo(self) -> int:
        """What the store lacks, all of it where it cannot be asked."""
        return self.asked - (self.held or 0)


@dataclass(frozen=True)
class RunEstimate:
    """A run before it happens.

    Attributes:
        works: stage by stage, those that have something to do.
        scratch: bytes of disk that the largest training to do needs for a while besides.
    """

    works: tuple[StageWorkload, ...]
    scratch: int


def fine_tuning(cell: Cell) -> Training | None:
    """The fine-tuning of a cell's method; None for methods of other kinds."""
    config = getattr(cell.config.method, "train", None)
    if not isinstance(config, FineTuneConfig):
        return None
    return Training(config, len(cell.erased.pairs()))


def steers(cell: Cell) -> bool:
    """Whether the cell's method changes the sampling, not the weights."""
    return cell.method != NONE and isinstance(load_method(cell.method), SamplingMethod)


def changes_weights(cell: Cell) -> bool:
    """Whether the cell's method leaves an edit."""
    return cell.method != NONE and not steers(cell)
