"""The stage ``rollouts``: tokens that the base model samples, for the probe and the attacks.

They are shared by all methods: made once per batch of samples, whatever the cell's method.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import replace

from safetensors.torch import load_file, save

from varbench.methods.registry import NONE
from varbench.models.protocol import NextScaleModel, Rollout
from varbench.pipeline.context import RunContext
from varbench.pipeline.plan import Cell, Sample
from varbench.pipeline.stages.generate import sample_batch, sampling_spec, with_samples
from varbench.pipeline.task import Task
from varbench.store import Entry, Stage, Writer

VERSION = 1
FILE = "rollouts.safetensors"


def rollouts_tasks(ctx: RunContext, cell: Cell, batches: Sequence[Sequence[Sample]]) -> list[Task]:
    """The base model's roll-outs of batches."""
    base = replace(cell, method=NONE)
    spec = sampling_spec(ctx, base, None) | {"rollouts": VERSION}
    return [
        Task(Stage.ROLLOUTS, with_samples(spec, batch), base, _compute, batch, label="prompts")
        for batch in batches
    ]


def _compute(ctx: RunContext, task: Task, inputs: Sequence[Entry], writer: Writer) -> None:
    model = ctx.model(task.cell)
    rollout = sample_batch(task, model, ctx.guidance(task.cell, model))
    arrays = {"tokens": rollout.tokens, "inputs": rollout.inputs}
    count = len(task.samples)
    tensors = {name: t[:count].cpu().contiguous() for name, t in arrays.items()}
    (writer.dir / FILE).write_bytes(save(tensors))


def read_rollouts(entry: Entry, model: NextScaleModel) -> Rollout:
    """Stored roll-outs, where the model's weights are."""
    tensors = load_file(entry.path(FILE), device=str(model.device))
    return Rollout(tensors["tokens"], tensors["inputs"], model.schedule)
