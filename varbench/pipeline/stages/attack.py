"""Trying to get the concept back, in two ways that suit a next-scale model.

``completions``  the first k scales of the unerased model's image are given and the erased model
                 finishes it. For the unerased model these are its own images, so nothing is made.
``attack``       free vectors before the prompt, found on the erased model by gradient ascent on the
                 likelihood of the unerased model's images of training prompts
                 (`varbench.pipeline.stages.soft_prompt`); ``attacked`` are target prompts with
                 them.
                 Methods that change sampling only are attacked through the plain predictions of
                 the model, which are the unerased one's: so are the vectors.

Both draw some of the target prompts, with their image seeds and random numbers. Only what the
judge reads is scored. A model that lacks `CompletesPrefix` or `HasSoftPrompts` gets no such
images, and the metrics say so.
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

from varbench.data.groups import TARGET
from varbench.data.prompt import Prompt, prompt_id
from varbench.data.selection import stratified_subset
from varbench.methods.base import Edit, applied
from varbench.methods.registry import NONE
from varbench.metrics.base import ATTACK, COMPLETION
from varbench.metrics.regained import completion
from varbench.models import registry
from varbench.models.capabilities import CompletesPrefix, HasSoftPrompts, require
from varbench.models.protocol import Guidance, NextScaleModel, Rollout
from varbench.pipeline.context import RunContext
from varbench.pipeline.plan import Cell, Sample, blocks
from varbench.pipeline.stages import generate
from varbench.pipeline.stages.probe import read_history, roll_outs, rollouts_spec
from varbench.pipeline.stages.soft_prompt import find_soft_prompt
from varbench.pipeline.stored_group import StoredGroup
from varbench.store import Entry, digest

VERSION = 1
COMPLETIONS, ATTACKED = "completions", "attacked"
SEED = 0
"""Where the attack's ascent starts."""
VECTORS = "vectors.safetensors"


@dataclass(frozen=True)
class Task:
    """One block of images to make.

    Attributes:
        stage: `completions` or `attacked`.
        group: under which metrics know the images.
        scales: how many are given; 0 in an attack.
        block: its rows.
    """

    stage: str
    group: str
    scales: int
    block: Sequence[Sample]

    def offered_by(self, model: NextScaleModel) -> bool:
        """Whether a model can make them."""
        if self.stage == ATTACKED:
            return isinstance(model, HasSoftPrompts)
        return isinstance(model, CompletesPrefix) and self.scales < len(model.schedule.scales)


@dataclass
class AttackOutputs:
    """What was tried on one model.

    Attributes:
        series: by group.
        same: groups whose images are some rows of another group's, which is named.
        others: further entries that values rest on: roll-outs and vectors.
    """

    series: dict[str, StoredGroup] = field(default_factory=dict)
    same: Mapping[str, tuple[str, list[Sample]]] = field(default_factory=dict)
    others: Sequence[Entry] = ()

    def entries(self) -> list[Entry]:
        """Everything that values were computed from."""
        return [*(entry for one in self.series.values() for entry in one.entries()), *self.others]


def attacked_samples(cell: Cell) -> list[Sample]:
    """The target prompts and image seeds that are tried, a part of the target group."""
    asked, target = cell.config.suite.robustness, cell.groups().get(TARGET, [])
    if not asked.prompts:
        return []
    prompts = list({row.prompt.id: row.prompt for row in target}.values())
    chosen = {p.id for p in stratified_subset(prompts, asked.prompts, cell.concept.judge.head)}
    return [row for row in target if row.prompt.id in chosen and row.seed < asked.seeds]


def example_rows(cell: Cell) -> list[Sample]:
    """Training prompts of the tested concept that an attack is found on, evenly over its pairs."""
    asked, pairs = cell.config.suite.robustness, cell.concept.pairs()
    if not (asked.vectors and attacked_samples(cell)):
        return []
    count = min(asked.examples, len(pairs))
    texts = dict.fromkeys(pairs[i * len(pairs) // count].concept for i in range(count))
    return [Sample(Prompt(text, prompt_id(text), {}), 0) for text in texts]


def tasks(cell: Cell, wanted: Collection[str]) -> list[Task]:
    """All that images are to be made of, if the model can.

    Args:
        cell: of one plan.
        wanted: what metrics need, see :class:`varbench.metrics.Evaluator`.
    """
    asked = cell.config.suite.robustness
    todo = list(blocks(attacked_samples(cell), cell.config.suite.block))
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
    """What decides the images of a task."""
    spec = generate.images_spec(cell, task.block, edit_key)
    if task.stage == ATTACKED:
        return spec | {ATTACK: digest(attack_spec(cell, edit_key))}
    history = digest(rollouts_spec(cell, task.block))
    return spec | {COMPLETIONS: VERSION, "rollouts": history, "scales": task.scales}


def run_attacks(ctx: RunContext, cell: Cell, edit: Entry | None) -> AttackOutputs:
    """Try to get the concept back from a cell's model, unless the store knows what comes of it.

    Args:
        shop: the place of work.
        cell: whose model.
        edit: the cell's edit; None where no weight is changed.
    """
    instruments = ctx.instruments(cell)
    key, asked = edit.key if edit else None, tasks(cell, instruments.required)
    if any(ctx.store.get(task.stage, task_spec(cell, task, key)) is None for task in asked):
        model = ctx.model(cell)
        asked = [task for task in asked if task.offered_by(model)]
    size = cell.config.suite.block
    others: list[Entry] = []
    if any(task.stage == COMPLETIONS for task in asked):
        others += roll_outs(ctx, cell, list(blocks(attacked_samples(cell), size)))
    if any(task.stage == ATTACKED for task in asked):
        examples = roll_outs(ctx, cell, list(blocks(example_rows(cell), size)))
        others += [*examples, _attack(ctx, cell, edit, examples)]
    images = _draw(ctx, cell, edit, asked, {entry.key: entry for entry in others})
    todo = [task.block for task in asked]
    scores = generate.score(ctx, instruments.judge_scorers, images, todo)
    made = AttackOutputs(
        same=_own(cell) if COMPLETION in instruments.required else {}, others=others
    )
    for task, entry, seen in zip(asked, images, scores, strict=True):
        made.series.setdefault(task.group, StoredGroup()).add(task.block, entry, seen)
    return made


def _own(cell: Cell) -> dict[str, tuple[str, list[Sample]]]:
    """The completions of the unerased model, which are its images."""
    given, rows = cell.config.suite.robustness.scales, attacked_samples(cell)
    if cell.method != NONE or not rows:
        return {}
    return {completion(count): (TARGET, rows) for count in given}


def _draw(
    ctx: RunContext,
    cell: Cell,
    edit: Entry | None,
    asked: Sequence[Task],
    others: Mapping[str, Entry],
) -> list[Entry]:
    """The images of all tasks; roll-outs and vectors that they need are found by key."""
    specs = [task_spec(cell, task, edit.key if edit else None) for task in asked]
    found = [ctx.store.get(task.stage, spec) for task, spec in zip(asked, specs, strict=True)]
    missing = [i for i, entry in enumerate(found) if entry is None]
    if missing:
        model = generate.prepared(ctx, cell, attacked_samples(cell))
        guidance = generate.guidance_of(cell, model)
        total = sum(len(task.block) for task in asked)
        done = total - sum(len(asked[i].block) for i in missing)
        with _applied(model, edit), ctx.progress.stage("robustness", total, done) as bar:
            for i in missing:
                task, spec = asked[i], specs[i]
                source = others[spec[ATTACK] if task.stage == ATTACKED else spec["rollouts"]]
                make = partial(_roll_out, cell, model, guidance, task, source)
                found[i] = generate.draw(
                    ctx, cell, task.stage, spec, task.block, model, guidance, make
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


def _attack(ctx: RunContext, cell: Cell, edit: Entry | None, examples: Sequence[Entry]) -> Entry:
    """The vectors found on a cell's model, from the unerased model's roll-outs."""
    spec = attack_spec(cell, edit.key if edit else None)
    with ctx.store.lock(ATTACK, spec):
        if entry := ctx.store.get(ATTACK, spec):
            return entry
        asked, rows = cell.config.suite.robustness, example_rows(cell)
        model = generate.prepared(ctx, cell, rows)
        parts = [read_history(entry, model) for entry in examples]
        tokens, inputs = (torch.cat([getattr(p, n) for p in parts]) for n in ("tokens", "inputs"))
        watched = ctx.progress.stage(ATTACK, asked.steps)
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
        with ctx.write(ATTACK, spec) as writer:
            kept = {"vectors": found.vectors.cpu().contiguous()}
            (writer.dir / VECTORS).write_bytes(save(kept))
            lines = [json.dumps({"step": i, "nll": nll}) for i, nll in enumerate(found.log)]
            (writer.dir / "log.jsonl").write_text("\n".join(lines) + "\n")
    assert writer.entry is not None
    return writer.entry


def _applied(model: NextScaleModel, edit: Entry | None) -> AbstractContextManager[NextScaleModel]:
    return applied(model, Edit.load(edit.path("edit.safetensors")) if edit else None)
