"""Memory of a fine-tuning step, part by part, counted without spending it.

One step of the training loop runs on fake tensors (shapes and dtypes without bytes), through the
model's own modules, autograd, checkpointing and adapters, while the live bytes are counted. The
fake device is a CPU, whose attention keeps for the way back what the fused CUDA kernels keep.

Not counted: the CUDA context, what kernels need inside themselves, and the allocator's gaps;
together a few per cent to a tenth. There is no second model: the frozen teacher's logits are
computed before the training and kept.
"""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass

import torch
from torch import Tensor

from varbench.methods.training.config import FineTuneConfig
from varbench.methods.training.losses import preservation_loss
from varbench.methods.training.parameters import trained_parameters, training_mode
from varbench.models.protocol import Condition, NextScaleModel, Rollout
from varbench.pipeline.estimate.live_bytes import LiveBytes


@dataclass(frozen=True)
class TrainingMemory:
    """Bytes of one training step on the device, and of the edit that a training leaves.

    Attributes:
        weights: the trained network's as held in training, adapters included.
        resident: other networks that stay on the device, such as the image tokenizer.
        gradients: of what is trained; twice with ``log_conflict``.
        optimiser: AdamW's two moments.
        activations: what one loss term's forward pass keeps for its backward pass.
        losses: logits, their logarithms and the teacher's rows, until the backward pass.
        workspace: what the passes need besides for a while; with checkpointing mostly one block.
        pairs: roll-outs (tokens, visual inputs) and text rows of all training pairs.
        teacher_logits: the frozen model's logits of all pairs.
        edit: of the edit in the store.
    """

    weights: int
    resident: int
    gradients: int
    optimiser: int
    activations: int
    losses: int
    workspace: int
    pairs: int
    teacher_logits: int
    edit: int

    @property
    def parts(self) -> dict[str, int]:
        """By name, what is on the device at once."""
        return {name: size for name, size in vars(self).items() if name != "edit"}

    @property
    def peak(self) -> int:
        """The sum of the parts."""
        return sum(self.parts.values())

    @property
    def checkpoint(self) -> int:
        """Bytes on disk of the checkpoint to resume from, while the next one is written."""
        return 3 * self.optimiser  # twice the parameters and their moments


def size_of(tensors: Iterable[Tensor]) -> int:
    """Bytes of some tensors that share nothing."""
    return sum(t.numel() * t.element_size() for t in tensors)


def training_memory(
    model: NextScaleModel,
    pairs: Rollout,
    condition: Condition,
    config: FineTuneConfig,
    resident: int = 0,
) -> TrainingMemory:
    """Count one step of a fine-tuning with auxiliary tokens, such as S-VARE's.

    Args:
        model: made of fake tensors, or real and small.
        pairs: the roll-outs of all pairs.
        condition: their prompts; there are as many with the concept as without it.
        config: the training's settings.
        resident: bytes of other networks that stay on the device.

    Raises:
        CapabilityError: the model does not offer what ``config`` asks for.
    """
    rows = [i % len(pairs) for i in range(config.batch)]
    chosen = trained_parameters(model, config)
    with training_mode(model, chosen, config, seed=0) as (parameters, result):
        for p in parameters.values():  # two terms add up their gradients before the step
            p.grad = torch.zeros_like(p)
        with LiveBytes() as live:
            logits = model.logits(pairs.select(rows), condition.select(rows))
            activations = live.now
            loss = preservation_loss(logits, torch.zeros_like(logits))
            losses = live.now - activations
            loss.backward()
        for p in parameters.values():
            p.grad = None
        return TrainingMemory(
            weights=size_of(model.weights().state_dict().values()),
            resident=resident,
            gradients=(2 if config.log_conflict else 1) * size_of(parameters.values()),
            optimiser=2 * size_of(parameters.values()),
            activations=activations,
            losses=losses,
            workspace=live.peak - activations - losses,
            pairs=size_of([pairs.tokens, pairs.inputs])
            + 2 * size_of(t for t in vars(condition).values() if isinstance(t, Tensor)),
            teacher_logits=len(pairs) * size_of([logits]) // config.batch,
            edit=size_of(result().values()),
        )
