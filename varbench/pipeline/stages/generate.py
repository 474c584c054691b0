"""The stage ``pictures``: images of a model for the samples of a cell, batch by batch."""

from __future__ import annotations

import time
from collections.abc import Callable, Mapping, Sequence
from typing import Any

from PIL import Image
from torch import Tensor

from varbench.conf.schema import plain
from varbench.models.protocol import Guidance, NextScaleModel, Rollout
from varbench.pipeline.context import RunContext
from varbench.pipeline.outputs import image_name
from varbench.pipeline.plan import Cell, Sample
from varbench.pipeline.stages.edit import steering_spec
from varbench.pipeline.task import Task, edit_of
from varbench.store import Entry, Stage, Writer, failures

VERSION = 1


def sampling_spec(ctx: RunContext, cell: Cell, edit: Task | None) -> dict[str, Any]:
    """Spec of a cell's images but for their samples."""
    model = cell.config.model
    return {
        "version": VERSION,
        "model": ctx.fingerprint(cell),
        "edit": edit.key if edit else None,
        "steering": steering_spec(cell),
        "sampling": plain(model.sampling),
        "batch": 1 if model.strict else min(model.batch, cell.config.suite.block),
        "strict": model.strict,
        "block": cell.config.suite.block,
    }


def with_samples(spec: Mapping[str, Any], samples: Sequence[Sample]) -> dict[str, Any]:
    """Spec of a batch, from that of all batches."""
    return {**spec, "rows": [[sample.prompt.text, sample.seed] for sample in samples]}


def images_task(
    cell: Cell,
    spec: Mapping[str, Any],
    samples: Sequence[Sample],
    edit: Task | None,
    group: str = "",
) -> Task:
    """The images of a batch of a prompt group; `spec` is that of all batches."""
    return Task(
        Stage.IMAGES, with_samples(spec, samples), cell, compute_images, samples,
        needs=(edit,) if edit else (), label=group,
    )  # fmt: skip


def sample_batch(task: Task, model: NextScaleModel, guidance: Guidance) -> Rollout:
    """Roll-outs of a task's samples, and after them those that only fill up the batch."""
    samples = padded(task)
    condition = model.encode([sample.prompt.text for sample in samples])
    return model.generate(condition, [s.key for s in samples], guidance=guidance)


def padded(task: Task) -> list[Sample]:
    """A batch in full length, filled up with its first sample.

    That keeps tensor shapes, and so every bit, the same in all batches.
    """
    samples = task.samples
    return [*samples, *[samples[0]] * (task.cell.config.suite.block - len(samples))]


Sampler = Callable[[Task, NextScaleModel, Guidance], Rollout]
"""Gives the roll-outs of a task's padded batch."""


def compute_images(
    ctx: RunContext,
    task: Task,
    inputs: Sequence[Entry],
    writer: Writer,
    sample: Sampler = sample_batch,
) -> None:
    """Sample, decode and write the images of a task, with the failed ones noted."""
    model, samples = ctx.model(task.cell, edit_of(inputs)), task.samples
    guidance = ctx.guidance(task.cell, model)
    began = time.monotonic()
    rollout = sample(task, model, guidance)
    decoded = model.decode(rollout)
    failed = {i: why for i, why in find_invalid(rollout, decoded).items() if i < len(samples)}
    failures.warn(task.stage, [s.prompt.text for s in samples], failed)
    for i, array in enumerate(to_uint8(decoded[: len(samples)])):
        if i not in failed:
            Image.fromarray(array).save(writer.dir / image_name(i))
    failures.note(writer, failed)
    writer.meta["tokens_lost"] = _tokens_lost(model, samples)
    writer.meta["extra_passes"] = _extra_passes(task, model, guidance)
    writer.meta["seconds"] = time.monotonic() - began


def find_invalid(rollout: Rollout, images: Tensor) -> dict[int, str]:
    """Numbers of a batch's images that are not finite, with the reason.

    Args:
        rollout: what they were decoded from.
        images: ``[B, 3, H, W]``.
    """
    reasons: dict[int, str] = {}
    wrong = (~images.isfinite()).flatten(1).sum(dim=1).tolist()
    size = images[0].numel() if len(images) else 0
    reasons |= {i: f"{n} of {size} pixel values are not finite" for i, n in enumerate(wrong) if n}
    if rollout.finite is not None:
        lost = (~rollout.finite).nonzero().flatten().tolist()
        reasons |= dict.fromkeys(lost, "the model's predictions are not finite")
    return reasons


def _extra_passes(task: Task, model: NextScaleModel, guidance: Guidance) -> int:
    """Forward passes per scale beyond those of the model's own guidance."""
    condition = model.encode([task.samples[0].prompt.text])
    plain_guidance = model.guidance(task.cell.config.model.sampling.guidance)
    branches = plain_guidance.branches(model, condition)
    return len(guidance.branches(model, condition)) - len(branches)


def _tokens_lost(model: NextScaleModel, samples: Sequence[Sample]) -> dict[str, int]:
    """Tokens that did not fit or cannot be read, by the id of each prompt that has some."""
    text = getattr(model, "text_encoder", None)
    truncated = text.truncated if text else {}
    return {s.prompt.id: truncated[s.prompt.text] for s in samples if s.prompt.text in truncated}


def to_uint8(images: Tensor) -> Any:
    """``[B, 3, H, W]`` in [0, 1] -> ``[B, H, W, 3]`` uint8 array, rounded."""
    scaled = (images.clamp(0, 1) * 255).round().byte()
    return scaled.permute(0, 2, 3, 1).cpu().numpy()
