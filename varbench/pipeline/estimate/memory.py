"""Memory estimate: bytes of generating and training, counted on a model of fake tensors.

A model's blocks are alike, so two and three of them are run and the rest is extrapolated: every
figure is linear in the depth from there on. Not counted: the CUDA context, workspace
inside kernels and gaps of the allocator, together up to a tenth (:data:`SPARE`).
"""

from __future__ import annotations

import os
from collections.abc import Collection, Mapping
from dataclasses import dataclass
from typing import Any

import torch

from varbench.methods.training.config import FineTuneConfig
from varbench.models.fake import Blueprint, blueprint_of
from varbench.models.protocol import CapabilityError, NextScaleModel, Rollout
from varbench.pipeline.estimate.live_bytes import LiveBytes
from varbench.pipeline.estimate.training_memory import TrainingMemory, size_of, training_memory

FEW = 2
SPARE = 0.1
"""Share of a device's memory to leave for uncounted uses."""


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
class MemoryEstimate:
    """Memory and disk of a run.

    Attributes:
        batch: images made at once.
        image: bytes of one uncompressed image.
        rollout: bytes of one image's tokens and the visual inputs that they imply.
        generation: bytes on the device while a batch is made.
        training: each training with what it takes, or why it is not possible.
    """

    batch: int
    image: int
    rollout: int
    generation: GenerationMemory
    training: Mapping[Training, TrainingMemory | str]


def memory_estimate(
    model: Any, batch: int, trainings: Collection[Training]
) -> MemoryEstimate | None:
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
    few = max([FEW, *(training.config.blocks + 1 for training in trainings)])
    if blueprint.depth <= few + 1:
        return _count(blueprint, blueprint.depth, batch, trainings)
    first, second = (_count(blueprint, depth, batch, trainings) for depth in (few, few + 1))
    estimate: MemoryEstimate = _extrapolated(first, second, blueprint.depth - few)
    return estimate


def _extrapolated(first: Any, second: Any, steps: int) -> Any:
    """Extrapolate numbers, and mappings and dataclasses of them; reasons stay as they are."""
    if isinstance(first, int) and isinstance(second, int):
        return first + steps * (second - first)
    if isinstance(first, Mapping):
        return {key: _extrapolated(value, second[key], steps) for key, value in first.items()}
    if isinstance(first, str) or isinstance(second, str):
        return first
    return type(first)(**_extrapolated(vars(first), vars(second), steps))


def _count(
    blueprint: Blueprint, depth: int, batch: int, trainings: Collection[Training]
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
            resident=blueprint.resident + size_of(model.tokenizer.parameters()),
            text_encoder=blueprint.text_encoder,
            sampling=sampling.peak,
            decoding=decoding.peak,
        )
        needs = {each: _training(model, rollout, each, generation.resident) for each in trainings}
        history = size_of([rollout.tokens, rollout.inputs]) // batch
        return MemoryEstimate(batch, images[0].numel(), history, generation, needs)


def _training(
    model: NextScaleModel, rollout: Rollout, training: Training, resident: int
) -> TrainingMemory | str:
    pairs, prompts = rollout.select([0] * training.pairs), model.encode([""] * training.pairs)
    try:
        return training_memory(model, pairs, prompts, training.config, resident)
    except CapabilityError as error:
        return str(error)


def device_memory(device: str) -> int | None:
    """Bytes of a device's memory, the machine's for ``cpu``; None if not reported."""
    if device.startswith("cuda"):
        return int(torch.cuda.get_device_properties(device).total_memory)
    try:
        return os.sysconf("SC_PAGE_SIZE") * os.sysconf("SC_PHYS_PAGES")
    except (AttributeError, ValueError, OSError):  # not offered by this operating system
        return None
