"""What a run would do and what the store has of it already, stage by stage; nothing is computed.

The specs are those of the stages themselves. Where the model's weights are missing they have no
fingerprint, so the work is counted and nothing can be looked up.

Disk: what an edit takes follows from shapes; an image, roll-out or score takes the mean of those
that the store has, and before the first of them what follows from shapes, if anything does. Left
out: text features (some ten kilobytes per prompt), answers of the probe, cells and manifests.
"""

from __future__ import annotations

from collections.abc import Callable, Hashable, Iterable, Iterator, Sequence
from dataclasses import dataclass, replace
from typing import Any

from varbench.data.groups import KEPT
from varbench.errors import UserError
from varbench.methods.registry import NONE
from varbench.metrics import PROBE
from varbench.metrics.base import ATTACK
from varbench.models import registry
from varbench.pipeline import run
from varbench.pipeline.context import RunContext
from varbench.pipeline.estimate.memory import MemoryEstimate, TrainingEstimate
from varbench.pipeline.estimate.workload import (
    Amount,
    RunEstimate,
    StageWorkload,
    changes_weights,
    fine_tuning,
    steers,
)
from varbench.pipeline.plan import Cell, Sample, blocks
from varbench.pipeline.stages import attack, compare, generate, probe
from varbench.pipeline.stages.attack import ATTACKED, COMPLETIONS
from varbench.pipeline.stages.probe import ROLLOUTS
from varbench.scoring.base import Comparer, Scorer
from varbench.store import Entry, digest


@dataclass(frozen=True)
class _Piece:
    """One entry of the store, there or to come.

    Attributes:
        same: equal for pieces that are one and the same.
        key: in the store; None where it cannot be known.
        count: items in it.
        label: which part of the stage it belongs to.
        scored_by: roles of the scorers that look at it, if it is images.
        by: what its time goes by, see :class:`StageWorkload`.
    """

    same: Hashable
    key: str | None
    count: int
    label: str
    scored_by: tuple[str, ...] = ()
    by: str = ""


def run_estimate(
    cells: Sequence[Cell], ctx: RunContext, weights_there: bool, footprint: MemoryEstimate | None
) -> RunEstimate:
    """Go through the stages of all cells.

    Args:
        cells: of one plan.
        shop: the store and the scorers; no model is loaded.
        weights_there: whether the model has a fingerprint, by which the store is asked.
        footprint: what images and fine-tunings take, if it could be counted.
    """
    look = _Look(cells, ctx, weights_there, footprint)
    edit, scratch = look.edits()
    works = [edit, *look.images_and_scores(), look.recorded()]
    return RunEstimate(tuple(work for work in works if work.asked), scratch)


class _Look:
    """The arguments of :func:`run_estimate`, looked at stage by stage."""

    def __init__(
        self, cells: Sequence[Cell], ctx: RunContext, there: bool, footprint: MemoryEstimate | None
    ) -> None:
        self.cells, self.ctx, self.store = cells, ctx, ctx.store
        self.there, self.footprint = there, footprint
        # Tells apart what images are drawn with, also where weights have no fingerprint.
        self.drawn_with = [self._drawn_with(cell) for cell in cells]
        # By identity: a cell is not hashable, and these live as long as this does.
        self._edit_keys = {id(cell): _edit_key(cell) for cell in cells} if there else {}

    def _drawn_with(self, cell: Cell) -> Hashable:
        if cell.method == NONE:
            return None
        seed = cell.seed if changes_weights(cell) else None
        return cell.method, cell.config_hash(), cell.erased.digest(), seed

    def _held(self, stage: str, key: str | None) -> bool:
        return key is not None and self.store.find(stage, key, verify=False) is not None

    def edits(self) -> tuple[StageWorkload, int]:
        """The edits, and the disk that the largest training needs besides."""
        found = zip(self.drawn_with, self.cells, strict=True)
        distinct = {same: cell for same, cell in found if changes_weights(cell)}
        held, disk, scratch, bound = 0, 0, 0, False
        loads: dict[str, Amount] = {}
        for cell in distinct.values():
            if self.there and self._held("edit", digest(generate.edit_spec(cell) or {})):
                held += 1
                continue
            loads[cell.method] = loads.get(cell.method, Amount()).plus(1)
            if self.footprint is not None:
                training = fine_tuning(cell)
                need = self.footprint.needs(training) if training else None
                if isinstance(need, TrainingEstimate):
                    disk += need.edit
                    scratch = max(scratch, need.checkpoint)
                else:
                    disk, bound = disk + self.footprint.generation.weights, True
        names = ", ".join(dict.fromkeys(cell.method for cell in distinct.values()))
        size = None if self.footprint is None else disk
        known = self._known(held)
        return StageWorkload("edit", names, len(distinct), known, size, bound, loads), scratch

    def _known(self, held: int) -> int | None:
        return held if self.there else None

    def images_and_scores(self) -> list[StageWorkload]:
        """The stages that follow the edits, up to the comparisons."""
        size = self.footprint.image if self.footprint else None
        history = self.footprint.rollout if self.footprint else None
        images = list(self._images())
        reference = list(self._reference())
        rollouts, answers = self._probed()
        tried = self._tried()
        drawn = (*images, *tried[COMPLETIONS], *tried[ATTACKED], *reference)
        items = [_scored(one, role) for one in drawn for role in one.scored_by]
        model = registry.fingerprint(self.cells[0].config.model) if self.there else None
        name = self.cells[0].config.model.name
        return [
            self._work("pictures", images, size, lambda e: e.spec["model"] == model, bound=True),
            self._work(
                ROLLOUTS,
                [*rollouts, *tried[ROLLOUTS]],
                history,
                lambda e: e.spec["model"] == model,
            ),
            self._work(PROBE, answers, 0, lambda e: False),
            self._work(ATTACK, tried[ATTACK], 0, lambda e: False),
            *(
                self._work(stage, tried[stage], size, lambda e: e.spec["model"] == model, True)
                for stage in (COMPLETIONS, ATTACKED)
            ),
            self._work("reference", reference, size, lambda e: e.spec["world"] == name, bound=True),
            self._scores(items),
            # Two numbers of four bytes each.
            self._work(compare.STAGE, self._compared(), 8, lambda e: False),
        ]

    def _work(
        self,
        stage: str,
        pieces: Iterable[_Piece],
        each: int | None,
        alike: Callable[[Entry], bool],
        bound: bool = False,
    ) -> StageWorkload:
        """A stage from its pieces; an item takes the mean of entries alike, or else ``each``."""
        distinct = {piece.same: piece for piece in pieces}.values()
        by_label: dict[str, int] = {}
        for piece in distinct:
            by_label[piece.label] = by_label.get(piece.label, 0) + piece.count
        asked, held = sum(by_label.values()), 0
        loads: dict[str, Amount] = {}
        for piece in distinct:
            if self._held(stage, piece.key):
                held += piece.count
            else:
                loads[piece.by] = loads.get(piece.by, Amount()).plus(piece.count)
        files = [f for e in self.store.entries(stage, verify=False) if alike(e) for f in _files(e)]
        mean = sum(files) / len(files) if files else each
        disk = None if mean is None else round(mean * (asked - held))
        what = ", ".join(f"{label} {count}" for label, count in by_label.items())
        return StageWorkload(
            stage, what, asked, self._known(held), disk, bound and not files, loads
        )

    def _blocks(self) -> Iterator[tuple[Hashable, Cell, str, list[Sample]]]:
        for same, cell in zip(self.drawn_with, self.cells, strict=True):
            for group, rows in cell.groups().items():
                for block in blocks(rows, cell.config.suite.block):
                    yield same, cell, group, block

    def _drawn(self, cell: Cell, block: Sequence[Sample]) -> str:
        """Key of a block's images; of a cell of this plan, or of one that changes no weight."""
        return digest(generate.images_spec(cell, block, self._edit_keys.get(id(cell))))

    def _images(self) -> Iterator[_Piece]:
        for drawn_with, cell, group, block in self._blocks():
            key = self._drawn(cell, block) if self.there else None
            roles = tuple(self.ctx.instruments(cell).scorers)
            same = drawn_with, _texts(block)
            yield _Piece(same, key, len(block), group, roles, _sampling(cell))

    def _compared(self) -> Iterator[_Piece]:
        """Images that comparers look at, by block, and where their next seeds are."""
        for drawn_with, cell in zip(self.drawn_with, self.cells, strict=True):
            unerased, size = replace(cell, method=NONE), cell.config.suite.block
            todo = [block for rows in cell.groups().values() for block in blocks(rows, size)]
            comparers = self.ctx.instruments(cell).comparers
            who = {role: _identity(one) for role, one in comparers.items()}
            keys: list[str] = []
            if self.there and who:
                keys = [self._drawn(cell, block) for block in todo]
            texts = [_texts(block) for block in todo]
            for i, places in enumerate(compare.next_seeds(todo)):
                following = tuple(place and (texts[place[0]], place[1]) for place in places)
                for role, identity in who.items():
                    key = None
                    if keys and identity is not None:
                        base = self._drawn(unerased, todo[i])
                        later = [place and (keys[place[0]], place[1]) for place in places]
                        key = digest(compare.spec_of(role, identity, keys[i], base, later))
                    yield _Piece((drawn_with, role, texts[i], following), key, len(places), role)

    def _reference(self) -> Iterator[_Piece]:
        """Real images of a model's own world, found by what they show."""
        name = self.cells[0].config.model.name
        world = registry.reference(name)
        if world is None:
            return
        there = {
            tuple((id, seed, *sorted(labels.items())) for id, seed, labels in e.spec["rows"]): e.key
            for e in self.store.entries("reference", verify=False)
            if (e.spec["world"], e.spec["version"]) == (name, world.VERSION)
        }
        for _, cell, group, block in self._blocks():
            if group in KEPT and "features" in self.ctx.instruments(cell).scorers:
                same = tuple((r.prompt.id, r.seed, *sorted(r.prompt.labels.items())) for r in block)
                yield _Piece(same, there.get(same), len(block), group, ("features",))

    def _probed(self) -> tuple[list[_Piece], list[_Piece]]:
        """Roll-outs of the unerased model, and what it and the edited ones say of them."""
        there = {
            (e.spec["edit"], e.spec["rollouts"]): e.key
            for e in self.store.entries(PROBE, verify=False)
            if e.spec["version"] == probe.VERSION
        }
        rollouts, answers = [], []
        for drawn_with, cell in zip(self.drawn_with, self.cells, strict=True):
            if steers(cell):
                continue  # it predicts what the unerased model does
            rows = [row for group in probe.probed_rows(cell).values() for row in group]
            for block in blocks(rows, cell.config.suite.block):
                key = answer = None
                if self.there:
                    key = digest(probe.rollouts_spec(cell, block))
                    answer = there.get((self._edit_keys[id(cell)], key))
                rollouts.append(_Piece(_texts(block), key, len(block), "prompts"))
                answers.append(_Piece((drawn_with, _texts(block)), answer, len(block), "answers"))
        return rollouts, answers

    def _tried(self) -> dict[str, list[_Piece]]:
        """Robustness, as if the model offered all that is asked; nobody has loaded it."""
        found: dict[str, list[_Piece]] = {s: [] for s in (ROLLOUTS, ATTACK, COMPLETIONS, ATTACKED)}
        for drawn_with, cell in zip(self.drawn_with, self.cells, strict=True):
            edit, size = self._edit_keys.get(id(cell)), cell.config.suite.block
            instruments = self.ctx.instruments(cell)
            tasks, roles = attack.tasks(cell, instruments.required), instruments.judge_scorers
            attacked = any(task.stage == ATTACKED for task in tasks)
            examples = list(blocks(attack.example_rows(cell), size)) if attacked else []
            histories = [task.block for task in tasks if task.stage == COMPLETIONS]
            for task in tasks:
                key = digest(attack.task_spec(cell, task, edit)) if self.there else None
                made = (drawn_with, task.group, _texts(task.block))
                count, by = len(task.block), _sampling(cell)
                piece = _Piece(made, key, count, task.group, tuple(roles), by)
                found[task.stage].append(piece)
            for block in (*histories, *examples):
                key = digest(probe.rollouts_spec(cell, block)) if self.there else None
                found[ROLLOUTS].append(_Piece(_texts(block), key, len(block), "prompts"))
            if examples:
                key = digest(attack.attack_spec(cell, edit)) if self.there else None
                # Guidance is not attacked: the vectors are the unerased model's.
                on = drawn_with if changes_weights(cell) else None
                found[ATTACK].append(_Piece((on, cell.concept.name), key, 1, "models"))
        return found

    def _scores(self, items: Iterable[_Piece]) -> StageWorkload:
        """Scores, found by images and scorer; ``key`` of an item is that of its images."""
        scorers = {
            role: one
            for cell in self.cells
            for role, one in self.ctx.instruments(cell).scorers.items()
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
        loads: dict[str, Amount] = {}
        for item in {item.same: item for item in items}.values():
            asked += item.count
            if item.key is not None and (item.key, item.label) in there:
                held += item.count
                continue
            loads[item.label] = loads.get(item.label, Amount()).plus(item.count)
            if some := sizes.get(item.label):
                disk += item.count * sum(some) / len(some)
            else:
                known = False
        what, size = ", ".join(scorers), round(disk) if known else None
        return StageWorkload("scores", what, asked, self._known(held), size, loads=loads)

    def recorded(self) -> StageWorkload:
        """The cells."""
        held = 0
        if self.there:
            held = sum(self._recorded(cell) for cell in self.cells)
        names = ", ".join(dict.fromkeys(cell.method for cell in self.cells))
        todo = Amount(len(self.cells) - held, len(self.cells) - held)
        return StageWorkload("cell", names, len(self.cells), self._known(held), loads={"": todo})

    def _recorded(self, cell: Cell) -> bool:
        try:
            spec = run.cell_spec(cell, self.ctx.instruments(cell))
        except UserError:  # a network's file is not there, and with it no fingerprint
            return False
        return self._held("cell", digest(spec))


def _edit_key(cell: Cell) -> str | None:
    spec = generate.edit_spec(cell)
    return None if spec is None else digest(spec)


def _sampling(cell: Cell) -> str:
    """What the time of an image goes by: the method that steers it, if one does."""
    return cell.method if steers(cell) else ""


def _identity(scorer: Scorer | Comparer) -> tuple[int, str] | None:
    """Version and fingerprint; None where the network's file is not there."""
    try:
        return scorer.version, scorer.fingerprint()
    except UserError:
        return None


def _texts(block: Sequence[Sample]) -> tuple[tuple[str, int], ...]:
    return tuple((row.prompt.text, row.seed) for row in block)


def _files(entry: Entry) -> list[Any]:
    return [file.size for file in entry.files.values()]


def _scored(images: _Piece, scorer: str) -> _Piece:
    return _Piece((images.same, scorer), images.key, images.count, scorer)
