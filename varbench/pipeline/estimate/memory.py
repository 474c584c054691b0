"""Bytes that generating and training need, counted on a model of fake tensors before any is spent.

A model's blocks are alike, so two and three of them are run and the rest is extrapolated: every
figure is linear in the depth from there on. Not counted: the CUDA context, what kernels need
inside themselves and the allocator's gaps, together up to a tenth (:data:`SPARE`).
"""

from __future__ import annotations

import os
from collections.abc import Sequence
from dataclasses import dataclass, fields, is_dataclass, replace
from typing import Any

import torch

from varbench.methods.training.config import FineTuneConfig
from varbench.methods.training.loop import trained_parameters, training_mode
from varbench.models.fake import Blueprint, blueprint_of
from varbench.models.protocol import CapabilityError, NextScaleModel, Rollout
from varbench.pipeline.estimate.live_bytes import LiveBytes
from varbench.pipeline.estimate.training_memory import TrainingMemory, size_of, training_memory

FEW = 2
SPARE = 0.1
"""Share of a device's memory to leave for what is not counted."""


@dataclass(frozen=True)
class GenerationMemory:
    """Bytes on the device while a batch of images is made.

    Attributes:
        weights: the transformer's, as configured.
        resident: other networks that stay on the device, such as the image tokenizer.
        text_encoder: in memory while prompts are encoded, before sampling.
        sampling: keys, values and activations of all branches, beside the weights.
        decoding: tokens to images, after sampling, beside the weights.
    """

    weights: int
    resident: int
    text_encoder: int
    sampling: int
    decoding: int

    @property
    def peak(self) -> int:
        """Weights, and the largest of the three phases, which follow each other."""
        phases = (self.text_encoder, self.sampling, self.decoding)
        return self.weights + self.resident + max(phases)


@dataclass(frozen=True)
class Training:
    """A fine-tuning to count: its settings and its number of training pairs."""

    config: FineTuneConfig
    pairs: int


@dataclass(frozen=True)
class TrainingEstimate:
    """What a fine-tuning takes.

    Attributes:
        memory: bytes on the device, part by part.
        edit: bytes of the edit that it leaves in the store.
    """

    memory: TrainingMemory
    edit: int

    @property
    def checkpoint(self) -> int:
        """Bytes on disk of what a killed training goes on from, while the next one is written."""
        parameters = self.memory.gradients  # of the same shapes and dtypes
        return 2 * (parameters + self.memory.optimiser)


@dataclass(frozen=True)
class MemoryEstimate:
    """What a run needs of its device and disk.

    Attributes:
        batch: images made at once.
        image: bytes of one uncompressed image.
        rollout: bytes of one image's tokens and the visual inputs that they imply.
        generation: bytes on the device while a batch is made.
        training: the asked-for trainings, each with its needs or why it is not possible.
    """

    batch: int
    image: int
    rollout: int
    generation: GenerationMemory
    training: tuple[tuple[Training, TrainingEstimate | str], ...]

    def needs(self, training: Training) -> TrainingEstimate | str:
        """What a training takes that was asked for, or why it is not possible."""
        return next(found for asked, found in self.training if asked == training)


def footprint(model: Any, batch: int, trainings: Sequence[Training]) -> MemoryEstimate | None:
    """Count a run's bytes.

    Args:
        model: a model config.
        batch: images to make at once; the model may take fewer.
        trainings: fine-tunings, as S-VARE steps.

    Returns:
        None for a model that has no blueprint, such as a plugin's.
    """
    blueprint = blueprint_of(model)
    if blueprint is None:
        return None
    # Of blocks that stay frozen, two more are needed to tell what each of them takes.
    few = max([FEW, *(one.config.blocks + 1 for one in trainings)])
    if blueprint.depth <= few + 1:
        return _count(blueprint, blueprint.depth, batch, trainings)
    first, second = (_count(blueprint, depth, batch, trainings) for depth in (few, few + 1))
    steps = blueprint.depth - few
    training = tuple(
        (asked, _extrapolated(a, second.needs(asked), steps)) for asked, a in first.training
    )
    generation = _extrapolated(first.generation, second.generation, steps)
    return replace(first, generation=generation, training=training)


def _extrapolated(first: Any, second: Any, steps: int) -> Any:
    """Numbers, dataclasses of such, and reasons, which stay as they are."""
    if isinstance(first, int) and isinstance(second, int):
        return first + steps * (second - first)
    if isinstance(first, str) or not is_dataclass(second):
        return first
    parts = {f.name: (getattr(first, f.name), getattr(second, f.name)) for f in fields(first)}
    return type(first)(**{name: _extrapolated(a, b, steps) for name, (a, b) in parts.items()})


def _count(
    blueprint: Blueprint, depth: int, batch: int, trainings: Sequence[Training]
) -> MemoryEstimate:
    with blueprint.build(depth) as model:
        batch = min(batch, model.batch)
        with LiveBytes() as sampling:
            condition = model.encode([""] * batch)
            rollout = model.generate(condition, [("", seed) for seed in range(batch)])
        with LiveBytes() as decoding:
            images = model.decode(rollout)
        generation = GenerationMemory(
            weights=size_of(model.weights().state_dict().values()),
            resident=blueprint.resident,
            text_encoder=blueprint.text_encoder,
            sampling=sampling.peak,
            decoding=decoding.peak,
        )
        needs = tuple(
            (one, _training(model, rollout, one, generation.resident)) for one in trainings
        )
        history = size_of([rollout.tokens, rollout.inputs]) // batch
        return MemoryEstimate(batch, images[0].numel(), history, generation, needs)


def _training(
    model: NextScaleModel, rollout: Rollout, asked: Training, resident: int
) -> TrainingEstimate | str:
    pairs, prompts = rollout.select([0] * asked.pairs), model.encode([""] * asked.pairs)
    try:
        memory = training_memory(model, pairs, prompts, asked.config, resident)
        chosen = trained_parameters(model, asked.config)
        with training_mode(model, chosen, asked.config, 0) as (_, result):
            return TrainingEstimate(memory, size_of(result().values()))
    except CapabilityError as error:
        return str(error)


def device_memory(device: str) -> int | None:
    """Bytes of a device's memory, the machine's for ``cpu``; None where nobody tells."""
    if device.startswith("cuda"):
        return int(torch.cuda.get_device_properties(device).total_memory)
    try:
        return os.sysconf("SC_PAGE_SIZE") * os.sysconf("SC_PHYS_PAGES")
    except (AttributeError, ValueError, OSError):  # not offered by this operating system
        return None
