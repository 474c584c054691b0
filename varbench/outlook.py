"""What a run would do and what the store has of it already, stage by stage; nothing is computed.

The specs are those of the stages themselves. Where the model's weights are missing they have no
fingerprint, so the work is counted and nothing can be looked up.

Disk: what an edit takes follows from shapes; a picture, roll-out or score takes the mean of those
that the store has, and before the first of them what follows from shapes, if anything does. Left
out: text features (some ten kilobytes per prompt), answers of the probe, cells and manifests.
"""

from __future__ import annotations

from collections.abc import Callable, Hashable, Iterable, Iterator, Sequence
from dataclasses import dataclass
from typing import Any

from varbench import bench, probes, stages
from varbench.errors import UserError
from varbench.footprint import Footprint, Training, TrainingNeeds
from varbench.methods.base import SamplingMethod
from varbench.methods.finetune import FineTuneConfig
from varbench.methods.registry import NONE, load_method
from varbench.metrics import PROBE, Scorer
from varbench.models import registry
from varbench.plan import Cell, Row, blocks
from varbench.probes import ROLLOUTS
from varbench.stages import Workshop
from varbench.store import Entry, digest


@dataclass(frozen=True)
class Work:
    """One stage of a run.

    Attributes:
        stage: its name, as in ``docs/architecture.md``.
        what: what the number is made of.
        asked: edits, pictures, prompts, scored items or cells, each counted once.
        held: those that the store has; None where it cannot be asked.
        disk: bytes that the rest will take; None where nobody can tell.
        bound: whether ``disk`` is the most it can be instead of an estimate.
    """

    stage: str
    what: str
    asked: int
    held: int | None
    disk: int | None = None
    bound: bool = False

    @property
    def todo(self) -> int:
        """What the store lacks, all of it where it cannot be asked."""
        return self.asked - (self.held or 0)


@dataclass(frozen=True)
class Outlook:
    """A run before it happens.

    Attributes:
        works: stage by stage, those that have something to do.
        scratch: bytes of disk that the largest training to do needs for a while besides.
    """

    works: tuple[Work, ...]
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


def _changes_weights(cell: Cell) -> bool:
    return cell.method != NONE and not steers(cell)


@dataclass(frozen=True)
class _Piece:
    """One entry of the store, there or to come.

    Attributes:
        same: equal for pieces that are one and the same.
        key: in the store; None where it cannot be known.
        count: items in it.
        label: which part of the stage it belongs to.
        scored_by: roles of the scorers that look at it, if it is pictures.
    """

    same: Hashable
    key: str | None
    count: int
    label: str
    scored_by: tuple[str, ...] = ()


def outlook(
    cells: Sequence[Cell], shop: Workshop, weights_there: bool, footprint: Footprint | None
) -> Outlook:
    """Go through the stages of all cells.

    Args:
        cells: of one plan.
        shop: the store and the scorers; no model is loaded.
        weights_there: whether the model has a fingerprint, by which the store is asked.
        footprint: what pictures and fine-tunings take, if it could be counted.
    """
    look = _Look(cells, shop, weights_there, footprint)
    edit, scratch = look.edits()
    works = [edit, *look.pictures_and_scores(), look.recorded()]
    return Outlook(tuple(work for work in works if work.asked), scratch)


class _Look:
    """The arguments of :func:`outlook`, looked at stage by stage."""

    def __init__(
        self, cells: Sequence[Cell], shop: Workshop, there: bool, footprint: Footprint | None
    ) -> None:
        self.cells, self.shop, self.store = cells, shop, shop.store
        self.there, self.footprint = there, footprint
        # Tells apart what pictures are drawn with, also where weights have no fingerprint.
        self.drawn_with = [self._drawn_with(cell) for cell in cells]

    def _drawn_with(self, cell: Cell) -> Hashable:
        if cell.method == NONE:
            return None
        seed = cell.seed if _changes_weights(cell) else None
        return cell.method, cell.config_hash(), cell.erased.digest(), seed

    def _held(self, stage: str, key: str | None) -> bool:
        return key is not None and self.store.find(stage, key, verify=False) is not None

    def edits(self) -> tuple[Work, int]:
        """The edits, and the disk that the largest training needs besides."""
        found = zip(self.drawn_with, self.cells, strict=True)
        distinct = {same: cell for same, cell in found if _changes_weights(cell)}
        held, disk, scratch, bound = 0, 0, 0, False
        for cell in distinct.values():
            if self.there and self._held("edit", digest(stages.edit_spec(cell) or {})):
                held += 1
            elif self.footprint is not None:
                training = fine_tuning(cell)
                need = self.footprint.needs(training) if training else None
                if isinstance(need, TrainingNeeds):
                    disk += need.edit
                    scratch = max(scratch, need.checkpoint)
                else:
                    disk, bound = disk + self.footprint.generation.weights, True
        names = ", ".join(dict.fromkeys(cell.method for cell in distinct.values()))
        size = None if self.footprint is None else disk
        return Work("edit", names, len(distinct), self._known(held), size, bound), scratch

    def _known(self, held: int) -> int | None:
        return held if self.there else None

    def pictures_and_scores(self) -> list[Work]:
        """The stages that follow the edits, up to the scores."""
        size = self.footprint.picture if self.footprint else None
        history = self.footprint.rollout if self.footprint else None
        pictures = list(self._pictures())
        reference = list(self._reference())
        rollouts, answers = self._probed()
        items = [_scored(one, role) for one in (*pictures, *reference) for role in one.scored_by]
        model = registry.fingerprint(self.cells[0].config.model) if self.there else None
        name = self.cells[0].config.model.name
        return [
            self._work("pictures", pictures, size, lambda e: e.spec["model"] == model, bound=True),
            self._work(ROLLOUTS, rollouts, history, lambda e: e.spec["model"] == model),
            self._work(PROBE, answers, 0, lambda e: False),
            self._work("reference", reference, size, lambda e: e.spec["world"] == name, bound=True),
            self._scores(items),
        ]

    def _work(
        self,
        stage: str,
        pieces: Iterable[_Piece],
        each: int | None,
        alike: Callable[[Entry], bool],
        bound: bool = False,
    ) -> Work:
        """A stage from its pieces; an item takes the mean of entries alike, or else ``each``."""
        distinct = {piece.same: piece for piece in pieces}.values()
        by_label: dict[str, int] = {}
        for piece in distinct:
            by_label[piece.label] = by_label.get(piece.label, 0) + piece.count
        asked = sum(by_label.values())
        held = sum(piece.count for piece in distinct if self._held(stage, piece.key))
        files = [f for e in self.store.entries(stage, verify=False) if alike(e) for f in _files(e)]
        mean = sum(files) / len(files) if files else each
        disk = None if mean is None else round(mean * (asked - held))
        what = ", ".join(f"{label} {count}" for label, count in by_label.items())
        return Work(stage, what, asked, self._known(held), disk, bound and not files)

    def _blocks(self) -> Iterator[tuple[Hashable, Cell, str, list[Row]]]:
        for same, cell in zip(self.drawn_with, self.cells, strict=True):
            for group, rows in cell.groups().items():
                for block in blocks(rows, cell.config.suite.block):
                    yield same, cell, group, block

    def _edit_key(self, cell: Cell) -> str | None:
        spec = stages.edit_spec(cell)
        return None if spec is None else digest(spec)

    def _pictures(self) -> Iterator[_Piece]:
        for drawn_with, cell, group, block in self._blocks():
            key = None
            if self.there:
                key = digest(stages.pictures_spec(cell, block, self._edit_key(cell)))
            roles = tuple(self.shop.instruments(cell).scorers)
            yield _Piece((drawn_with, _texts(block)), key, len(block), group, roles)

    def _reference(self) -> Iterator[_Piece]:
        """Real pictures of a model's own world, found by what they show."""
        name = self.cells[0].config.model.name
        world = registry.reference(name)
        if world is None:
            return
        there = {
            digest({"rows": e.spec["rows"]}): e.key
            for e in self.store.entries("reference", verify=False)
            if (e.spec["world"], e.spec["version"]) == (name, world.VERSION)
        }
        for _, cell, group, block in self._blocks():
            if group in bench.KEPT and "features" in self.shop.instruments(cell).scorers:
                rows = [[row.prompt.id, row.seed, dict(row.prompt.labels)] for row in block]
                same = digest({"rows": rows})
                yield _Piece(same, there.get(same), len(block), group, ("features",))

    def _probed(self) -> tuple[list[_Piece], list[_Piece]]:
        """Roll-outs of the unerased model, and what it and the edited ones say of them."""
        there = {
            (e.spec["edit"], e.spec["rollouts"]): e.key
            for e in self.store.entries(PROBE, verify=False)
            if e.spec["version"] == probes.VERSION
        }
        rollouts, answers = [], []
        for drawn_with, cell in zip(self.drawn_with, self.cells, strict=True):
            if steers(cell):
                continue  # it predicts what the unerased model does
            rows = [row for group in probes.probed_rows(cell).values() for row in group]
            for block in blocks(rows, cell.config.suite.block):
                key = answer = None
                if self.there:
                    spec = stages.pictures_spec(cell, block, None)
                    key = digest(spec | {ROLLOUTS: probes.VERSION})
                    answer = there.get((self._edit_key(cell), key))
                rollouts.append(_Piece(_texts(block), key, len(block), "prompts"))
                answers.append(_Piece((drawn_with, _texts(block)), answer, len(block), "answers"))
        return rollouts, answers

    def _scores(self, items: Iterable[_Piece]) -> Work:
        """Scores, found by pictures and scorer; ``key`` of an item is that of its pictures."""
        scorers = {
            role: one
            for cell in self.cells
            for role, one in self.shop.instruments(cell).scorers.items()
        }
        who = {role: _identity(one) for role, one in scorers.items()}
        there: set[tuple[str, str]] = set()
        sizes: dict[str, list[float]] = {}
        for entry in self.store.entries("scores", verify=False):
            spec = entry.spec
            if (spec["version"], spec["weights"]) == who.get(spec["scorer"]):
                there.add((spec["pictures"], spec["scorer"]))
                each = sum(_files(entry)) / len(spec["prompts"])
                sizes.setdefault(spec["scorer"], []).append(each)
        asked, held, disk, known = 0, 0, 0.0, True
        for item in {item.same: item for item in items}.values():
            asked += item.count
            if item.key is not None and (item.key, item.label) in there:
                held += item.count
            elif some := sizes.get(item.label):
                disk += item.count * sum(some) / len(some)
            else:
                known = False
        what, size = ", ".join(scorers), round(disk) if known else None
        return Work("scores", what, asked, self._known(held), size)

    def recorded(self) -> Work:
        """The cells."""
        held = 0
        if self.there:
            held = sum(self._recorded(cell) for cell in self.cells)
        names = ", ".join(dict.fromkeys(cell.method for cell in self.cells))
        return Work("cell", names, len(self.cells), self._known(held))

    def _recorded(self, cell: Cell) -> bool:
        try:
            spec = bench.cell_spec(cell, self.shop.instruments(cell))
        except UserError:  # a network's file is not there, and with it no fingerprint
            return False
        return self._held("cell", digest(spec))


def _identity(scorer: Scorer) -> tuple[int, str] | None:
    """Version and fingerprint; None where the network's file is not there."""
    try:
        return scorer.version, scorer.fingerprint()
    except UserError:
        return None


def _texts(block: Sequence[Row]) -> tuple[tuple[str, int], ...]:
    return tuple((row.prompt.text, row.seed) for row in block)


def _files(entry: Entry) -> list[Any]:
    return [file.size for file in entry.files.values()]


def _scored(pictures: _Piece, scorer: str) -> _Piece:
    return _Piece((pictures.same, scorer), pictures.key, pictures.count, scorer)
