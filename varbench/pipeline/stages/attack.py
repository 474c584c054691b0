"""Trying to get the concept back, in two ways that suit a next-scale model.

``completions``  the first k scales of the unerased model's picture are given and the erased model
                 finishes it. For the unerased model these are its own pictures, so nothing is made.
``attack``       free vectors before the prompt, found on the erased model by gradient ascent on the
                 likelihood of the unerased model's pictures of training prompts
                 (`varbench.pipeline.stages.soft_prompt`); ``attacked`` are target prompts with
                 them.
                 Methods that change sampling only are attacked through the plain predictions of
                 the model, which are the unerased one's: so are the vectors.

Both draw some of the target prompts, with their picture seeds and random numbers. Only what the
judge reads is scored. A model that lacks `CompletesPrefix` or `HasSoftPrompts` gets no such
pictures, and the metrics say so.
"""

from __future__ import annotations

import json
from collections.abc import Collection, Mapping, Sequence
from contextlib import AbstractContextManager
from dataclasses import dataclass, field
from functools import partial
from typing import Any

import torch
from safetensors.torch import load_file, save

from varbench.data.prompt import prompt_id
from varbench.data.prompt_sets import Prompt
from varbench.data.selection import spread
from varbench.methods.base import Edit, applied
from varbench.methods.registry import NONE
from varbench.metrics.base import ATTACK, COMPLETION
from varbench.metrics.regained import TARGET, completion
from varbench.models import registry
from varbench.models.capabilities import CompletesPrefix, HasSoftPrompts, require
from varbench.models.protocol import Guidance, NextScaleModel, Rollout
from varbench.pipeline.plan import Cell, Row, blocks
from varbench.pipeline.stages import generate
from varbench.pipeline.stages.generate import Workshop
from varbench.pipeline.stages.probe import read_history, roll_outs, rollouts_spec
from varbench.pipeline.stages.soft_prompt import find_soft_prompt
from varbench.pipeline.stored_group import Series
from varbench.store import Entry, digest

VERSION = 1
COMPLETIONS, ATTACKED = "completions", "attacked"
SEED = 0
"""Where the attack's ascent starts."""
VECTORS = "vectors.safetensors"


@dataclass(frozen=True)
class Task:
    """One block of pictures to make.

    Attributes:
        stage: `completions` or `attacked`.
        group: under which metrics know the pictures.
        scales: how many are given; 0 in an attack.
        block: its rows.
    """

    stage: str
    group: str
    scales: int
    block: Sequence[Row]

    def offered_by(self, model: NextScaleModel) -> bool:
        """Whether a model can make them."""
        if self.stage == ATTACKED:
            return isinstance(model, HasSoftPrompts)
        return isinstance(model, CompletesPrefix) and self.scales < len(model.schedule.scales)


@dataclass
class Robustness:
    """What was tried on one model.

    Attributes:
        series: by group.
        same: groups whose pictures are some rows of another group's, which is named.
        others: further entries that values rest on: roll-outs and vectors.
    """

    series: dict[str, Series] = field(default_factory=dict)
    same: Mapping[str, tuple[str, list[Row]]] = field(default_factory=dict)
    others: Sequence[Entry] = ()

    def entries(self) -> list[Entry]:
        """Everything that values were computed from."""
        return [*(entry for one in self.series.values() for entry in one.entries()), *self.others]


def tried_rows(cell: Cell) -> list[Row]:
    """The target prompts and picture seeds that are tried, a part of the target group."""
    asked, target = cell.config.suite.robustness, cell.groups().get(TARGET, [])
    if not asked.prompts:
        return []
    prompts = list({row.prompt.id: row.prompt for row in target}.values())
    chosen = {p.id for p in spread(prompts, asked.prompts, cell.concept.judge.head)}
    return [row for row in target if row.prompt.id in chosen and row.seed < asked.seeds]


def example_rows(cell: Cell) -> list[Row]:
    """Training prompts of the tested concept that an attack is found on, evenly over its pairs."""
    asked, pairs = cell.config.suite.robustness, cell.concept.pairs()
    if not (asked.vectors and tried_rows(cell)):
        return []
    count = min(asked.examples, len(pairs))
    texts = dict.fromkeys(pairs[i * len(pairs) // count].concept for i in range(count))
    return [Row(Prompt(text, prompt_id(text), {}), 0) for text in texts]


def tasks(cell: Cell, wanted: Collection[str]) -> list[Task]:
    """All that pictures are to be made of, if the model can.

    Args:
        cell: of one plan.
        wanted: what metrics need, see :class:`varbench.metrics.Instruments`.
    """
    asked = cell.config.suite.robustness
    todo = list(blocks(tried_rows(cell), cell.config.suite.block))
    given = asked.scales if COMPLETION in wanted and cell.method != NONE else ()
    made = [Task(COMPLETIONS, completion(count), count, block) for count in given for block in todo]
    attacked = todo if ATTACK in wanted and asked.vectors else []
    return made + [Task(ATTACKED, ATTACK, 0, block) for block in attacked]


def attack_spec(cell: Cell, edit_key: str | None) -> dict[str, Any]:
    """What decides the vectors of an attack."""
    asked = cell.config.suite.robustness
    examples = blocks(example_rows(cell), cell.config.suite.block)
    return {
        "version": VERSION,
        "model": registry.fingerprint(cell.config.model),
        "edit": edit_key,
        "rollouts": [digest(rollouts_spec(cell, block)) for block in examples],
        "vectors": asked.vectors,
        "steps": asked.steps,
        "batch": asked.batch,
        "seed": SEED,
    }


def task_spec(cell: Cell, task: Task, edit_key: str | None) -> dict[str, Any]:
    """What decides the pictures of a task."""
    spec = generate.pictures_spec(cell, task.block, edit_key)
    if task.stage == ATTACKED:
        return spec | {ATTACK: digest(attack_spec(cell, edit_key))}
    history = digest(rollouts_spec(cell, task.block))
    return spec | {COMPLETIONS: VERSION, "rollouts": history, "scales": task.scales}


def challenge(shop: Workshop, cell: Cell, edit: Entry | None) -> Robustness:
    """Try to get the concept back from a cell's model, unless the store knows what comes of it.

    Args:
        shop: the place of work.
        cell: whose model.
        edit: the cell's edit; None where no weight is changed.
    """
    instruments = shop.instruments(cell)
    key, asked = edit.key if edit else None, tasks(cell, instruments.wanted)
    if any(shop.store.get(task.stage, task_spec(cell, task, key)) is None for task in asked):
        model = shop.model(cell)
        asked = [task for task in asked if task.offered_by(model)]
    size = cell.config.suite.block
    others: list[Entry] = []
    if any(task.stage == COMPLETIONS for task in asked):
        others += roll_outs(shop, cell, list(blocks(tried_rows(cell), size)))
    if any(task.stage == ATTACKED for task in asked):
        examples = roll_outs(shop, cell, list(blocks(example_rows(cell), size)))
        others += [*examples, _attack(shop, cell, edit, examples)]
    pictures = _draw(shop, cell, edit, asked, {entry.key: entry for entry in others})
    todo = [task.block for task in asked]
    scores = generate.score(shop, instruments.judge_scorers, pictures, todo)
    made = Robustness(same=_own(cell) if COMPLETION in instruments.wanted else {}, others=others)
    for task, entry, seen in zip(asked, pictures, scores, strict=True):
        made.series.setdefault(task.group, Series()).add(task.block, entry, seen)
    return made


def _own(cell: Cell) -> dict[str, tuple[str, list[Row]]]:
    """The completions of the unerased model, which are its pictures."""
    given, rows = cell.config.suite.robustness.scales, tried_rows(cell)
    if cell.method != NONE or not rows:
        return {}
    return {completion(count): (TARGET, rows) for count in given}


def _draw(
    shop: Workshop,
    cell: Cell,
    edit: Entry | None,
    asked: Sequence[Task],
    others: Mapping[str, Entry],
) -> list[Entry]:
    """The pictures of all tasks; roll-outs and vectors that they need are found by key."""
    specs = [task_spec(cell, task, edit.key if edit else None) for task in asked]
    found = [shop.store.get(task.stage, spec) for task, spec in zip(asked, specs, strict=True)]
    missing = [i for i, entry in enumerate(found) if entry is None]
    if missing:
        model = generate.prepared(shop, cell, tried_rows(cell))
        guidance = generate.guidance_of(cell, model)
        total = sum(len(task.block) for task in asked)
        done = total - sum(len(asked[i].block) for i in missing)
        with _applied(model, edit), shop.progress.stage("robustness", total, done) as bar:
            for i in missing:
                task, spec = asked[i], specs[i]
                source = others[spec[ATTACK] if task.stage == ATTACKED else spec["rollouts"]]
                make = partial(_roll_out, cell, model, guidance, task, source)
                found[i] = generate.draw(
                    shop, cell, task.stage, spec, task.block, model, guidance, make
                )
                bar.advance(len(task.block))
    return [entry for entry in found if entry is not None]


def _roll_out(
    cell: Cell, model: NextScaleModel, guidance: Guidance, task: Task, source: Entry
) -> Rollout:
    """Sample a padded block with the vectors, or from the roll-outs, of an entry."""
    rows = generate.padded(cell, task.block)
    texts, keys = [row.prompt.text for row in rows], generate.keys_of(rows)
    if task.stage == ATTACKED:
        vectors = load_file(source.path(VECTORS), device=str(model.device))["vectors"]
        condition = require(model, HasSoftPrompts, ATTACKED).soft_prompts(texts)(vectors)
        return model.generate(condition, keys, guidance=guidance)
    complete = require(model, CompletesPrefix, COMPLETIONS).complete
    places = [i if i < len(task.block) else 0 for i in range(len(rows))]
    given = read_history(source, model).select(places)
    return complete(model.encode(texts), given, task.scales, keys, guidance=guidance)


def _attack(shop: Workshop, cell: Cell, edit: Entry | None, examples: Sequence[Entry]) -> Entry:
    """The vectors found on a cell's model, from the unerased model's roll-outs."""
    spec = attack_spec(cell, edit.key if edit else None)
    with shop.store.lock(ATTACK, spec):
        if entry := shop.store.get(ATTACK, spec):
            return entry
        asked, rows = cell.config.suite.robustness, example_rows(cell)
        model = generate.prepared(shop, cell, rows)
        parts = [read_history(entry, model) for entry in examples]
        tokens, inputs = (torch.cat([getattr(p, n) for p in parts]) for n in ("tokens", "inputs"))
        watched = shop.progress.stage(ATTACK, asked.steps)
        with _applied(model, edit), watched as bar:
            found = find_soft_prompt(
                model,
                [row.prompt.text for row in rows],
                Rollout(tokens, inputs, model.schedule),
                count=asked.vectors,
                steps=asked.steps,
                batch=asked.batch,
                seed=SEED,
                recompute=bool(cell.config.model.train.get("checkpointing", False)),
                advance=bar.advance,
            )
        with shop.write(ATTACK, spec) as writer:
            kept = {"vectors": found.vectors.cpu().contiguous()}
            (writer.dir / VECTORS).write_bytes(save(kept))
            lines = [json.dumps({"step": i, "nll": nll}) for i, nll in enumerate(found.log)]
            (writer.dir / "log.jsonl").write_text("\n".join(lines) + "\n")
    assert writer.entry is not None
    return writer.entry


def _applied(model: NextScaleModel, edit: Entry | None) -> AbstractContextManager[NextScaleModel]:
    return applied(model, Edit.load(edit.path("edit.safetensors")) if edit else None)
