"""Attempts to get the concept back, in two ways that suit a next-scale model.

``completions``  the first k scales of the base model's image are given and the erased model
                 finishes it. For the base model these are its own images, so nothing is made.
``attack``       free vectors before the prompt, found on the erased model by gradient ascent on the
                 likelihood of the base model's images of training prompts
                 (`varbench.pipeline.stages.soft_prompt`); ``attacked`` are target prompts with
                 them.
                 Methods that change sampling only are attacked through the plain predictions of
                 the model, which are those of the base model: so are the vectors.

Both use some of the target prompts, with their seeds and random numbers. Only what the judge reads
is scored. A model that lacks `CompletesPrefix` or `HasSoftPrompts` gets no such images, and the
metrics say so.
"""

from __future__ import annotations

import json
from collections.abc import Sequence
from functools import partial

from safetensors.torch import load_file, save

from varbench.data.groups import TARGET
from varbench.data.prompt import Prompt, prompt_id
from varbench.data.selection import stratified_subset
from varbench.methods.registry import NONE
from varbench.metrics.base import ATTACK, COMPLETION
from varbench.metrics.robustness import completion_group
from varbench.models import registry
from varbench.models.capabilities import CompletesPrefix, HasSoftPrompts, require
from varbench.models.protocol import Guidance, NextScaleModel, Rollout
from varbench.pipeline.context import RunContext
from varbench.pipeline.plan import Cell, Sample, batches
from varbench.pipeline.stages.generate import compute_images, padded, sampling_spec, with_samples
from varbench.pipeline.stages.rollouts import read_rollouts, rollouts_tasks
from varbench.pipeline.stages.soft_prompt import find_soft_prompt
from varbench.pipeline.task import Task, edit_of, of_stage
from varbench.store import Entry, Stage, Writer

VERSION = 1
SEED = 0
"""Of the attack's ascent: it decides the start."""
VECTORS = "vectors.safetensors"


def attacked_samples(cell: Cell) -> list[Sample]:
    """The target prompts and seeds that are tried, a part of the target group."""
    settings, target = cell.config.suite.robustness, cell.groups().get(TARGET, [])
    if not settings.prompts:
        return []
    prompts = list({sample.prompt.id: sample.prompt for sample in target}.values())
    chosen = {p.id for p in stratified_subset(prompts, settings.prompts, cell.concept.judge.head)}
    return [s for s in target if s.prompt.id in chosen and s.seed < settings.seeds]


def example_samples(cell: Cell) -> list[Sample]:
    """Training prompts of the tested concept that an attack is found on, evenly over its pairs."""
    settings, pairs = cell.config.suite.robustness, cell.concept.pairs()
    if not (settings.vectors and attacked_samples(cell)):
        return []
    count = min(settings.examples, len(pairs))
    texts = dict.fromkeys(pairs[i * len(pairs) // count].concept for i in range(count))
    return [Sample(Prompt(text, prompt_id(text), {}), 0) for text in texts]


def _completed_scales(ctx: RunContext, cell: Cell) -> list[int]:
    """The numbers of scales that are given; none that the model cannot complete."""
    if COMPLETION not in ctx.evaluator(cell).required or not attacked_samples(cell):
        return []
    if not ctx.offers(cell, CompletesPrefix):
        return []
    given = cell.config.suite.robustness.scales
    schedule = registry.schedule(cell.config.model)
    if schedule is None and not ctx.dry_run:
        schedule = ctx.model(cell).schedule
    return [count for count in given if schedule is None or count < len(schedule.scales)]


def completion_tasks(ctx: RunContext, cell: Cell, edit: Task | None) -> list[Task]:
    """Completed images of an erased model, each after the roll-outs that it needs; not scored."""
    if cell.method == NONE:
        return []
    todo = list(batches(attacked_samples(cell), cell.config.suite.block))
    common, edits = sampling_spec(ctx, cell, edit), [edit] if edit else []
    tasks = []
    for count in _completed_scales(ctx, cell):
        for rollouts in rollouts_tasks(ctx, cell, todo):
            own = {"completions": VERSION, "rollouts": rollouts.key, "scales": count}
            spec = with_samples(common, rollouts.samples) | own
            needs, group = (rollouts, *edits), completion_group(count)
            tasks.append(
                Task(Stage.COMPLETIONS, spec, cell, _compute, rollouts.samples, needs, group)
            )
    return tasks


def attacked_tasks(ctx: RunContext, cell: Cell, edit: Task | None) -> list[Task]:
    """Images of target prompts behind an attack's vectors."""
    if ATTACK not in ctx.evaluator(cell).required or not cell.config.suite.robustness.vectors:
        return []
    samples = attacked_samples(cell)
    if not samples or not ctx.offers(cell, HasSoftPrompts):
        return []
    attack = _attack_task(ctx, cell, edit)
    needs = (attack, *([edit] if edit else []))
    spec = sampling_spec(ctx, cell, edit) | {"attack": attack.key}
    return [
        Task(Stage.ATTACKED, with_samples(spec, batch), cell, _compute, batch, needs, ATTACK)
        for batch in batches(samples, cell.config.suite.block)
    ]


def _attack_task(ctx: RunContext, cell: Cell, edit: Task | None) -> Task:
    settings, samples = cell.config.suite.robustness, example_samples(cell)
    examples = rollouts_tasks(ctx, cell, list(batches(samples, cell.config.suite.block)))
    spec = {
        "version": VERSION,
        "model": ctx.fingerprint(cell),
        "edit": edit.key if edit else None,
        "rollouts": [task.key for task in examples],
        "vectors": settings.vectors,
        "steps": settings.steps,
        "batch": settings.batch,
        "seed": SEED,
    }
    needs = (*examples, *([edit] if edit else []))
    return Task(Stage.ATTACK, spec, cell, _compute_attack, samples, needs, "models")


def _compute(ctx: RunContext, task: Task, inputs: Sequence[Entry], writer: Writer) -> None:
    sample = _attacked if task.stage is Stage.ATTACKED else _completed
    compute_images(ctx, task, inputs, writer, partial(sample, inputs[0]))


def _attacked(attack: Entry, task: Task, model: NextScaleModel, guidance: Guidance) -> Rollout:
    """Roll-outs of a batch with an attack's vectors before its prompts."""
    samples = padded(task)
    vectors = load_file(attack.path(VECTORS), device=str(model.device))["vectors"]
    space = require(model, HasSoftPrompts, "attacked")
    condition = space.soft_prompts([s.prompt.text for s in samples])(vectors)
    return model.generate(condition, [s.key for s in samples], guidance=guidance)


def _completed(rollouts: Entry, task: Task, model: NextScaleModel, guidance: Guidance) -> Rollout:
    """Roll-outs of a batch whose first scales are the base model's."""
    samples, count = padded(task), len(task.samples)
    places = [i if i < count else 0 for i in range(len(samples))]
    given = read_rollouts(rollouts, model).select(places)
    condition = model.encode([s.prompt.text for s in samples])
    complete = require(model, CompletesPrefix, "completions").complete
    keys = [s.key for s in samples]
    return complete(condition, given, task.spec["scales"], keys, guidance=guidance)


def _compute_attack(ctx: RunContext, task: Task, inputs: Sequence[Entry], writer: Writer) -> None:
    """The vectors found on a cell's model, from the base model's roll-outs."""
    cell, settings = task.cell, task.cell.config.suite.robustness
    model = ctx.model(cell, edit_of(inputs))
    rollouts = of_stage(inputs, Stage.ROLLOUTS)
    history = Rollout.joined([read_rollouts(entry, model) for entry in rollouts])
    with ctx.progress.stage(task.stage, settings.steps) as bar:
        vectors, log = find_soft_prompt(
            model,
            [sample.prompt.text for sample in task.samples],
            history,
            count=settings.vectors,
            steps=settings.steps,
            batch=settings.batch,
            seed=SEED,
            recompute=bool(cell.config.model.train.get("checkpointing", False)),
            advance=bar.advance,
        )
    (writer.dir / VECTORS).write_bytes(save({"vectors": vectors.cpu().contiguous()}))
    lines = [json.dumps({"step": i, "nll": nll}) for i, nll in enumerate(log)]
    (writer.dir / "log.jsonl").write_text("\n".join(lines) + "\n")
