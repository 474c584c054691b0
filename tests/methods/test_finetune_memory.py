"""The count of a training step's bytes against sums over modules and against real steps."""

from __future__ import annotations

import gc
from collections.abc import Iterable
from dataclasses import fields, replace
from typing import Any

import pytest
import torch
from torch import Tensor

from tests.helpers.infinity_tiny import model_of
from tests.helpers.training import TRAIN, blank_pairs
from varbench.conf.compose import resolve
from varbench.methods.training.config import FineTuneConfig
from varbench.methods.training.loop import new_optimiser
from varbench.methods.training.parameters import training_mode
from varbench.models.fake import fake_tensors
from varbench.models.infinity.config import TokenizerConfig, TransformerConfig
from varbench.models.infinity.model import InfinityModel
from varbench.models.infinity.schedules import schedule_for
from varbench.models.infinity.tokenizer import BSQVAE
from varbench.models.infinity.transformer import InfinityTransformer
from varbench.models.protocol import Sampling, trainable
from varbench.pipeline.estimate.live_bytes import LiveBytes
from varbench.pipeline.estimate.training_memory import (
    TrainingMemory,
    size_of,
    training_memory,
)

SMALL_VAE = TokenizerConfig(32, 32, (1, 1))
TWO_B_VAE = TokenizerConfig(32)
TWO_B = TransformerConfig(2048, depth=32, heads=16, bits=32)
TINY = TransformerConfig(32, depth=3, heads=2, bits=6, text_width=128, text_maxlen=8)
SCHEDULE = schedule_for("0.06M")
PAPER = FineTuneConfig(precision="bf16", checkpointing=True)
GB = 10**9


def counted(
    sizes: TransformerConfig,
    config: FineTuneConfig,
    pn: str = "0.06M",
    pairs: int = 5,
    vae: TokenizerConfig = SMALL_VAE,
) -> TrainingMemory:
    with fake_tensors():
        parts = InfinityTransformer(sizes), BSQVAE(vae), None, schedule_for(pn), Sampling()
        model = InfinityModel("fake", *parts)
        resident = size_of(model.tokenizer.parameters())
        return training_memory(model, *blank_pairs(model, pairs), config, resident)


def storages(tensors: Iterable[Tensor]) -> dict[int, torch.UntypedStorage]:
    return {t.untyped_storage()._cdata: t.untyped_storage() for t in tensors}


def size(found: dict[int, torch.UntypedStorage]) -> int:
    return sum(storage.nbytes() for storage in found.values())


def test_live_bytes_counts_storages_until_they_are_freed() -> None:
    outside = torch.zeros(1000)
    with LiveBytes() as live:
        view, same = outside[:10], outside.add_(1)
        assert live.now == 0
        made = torch.zeros(100) + 1
        assert (live.now, live.peak) == (400, 800)
        part = made[:5]
        del made
        assert live.now == 400
        del part
        assert (live.now, live.peak) == (0, 800)
    del view, same


@pytest.mark.parametrize("precision", ["fp32", "bf16", "bf16-weights"])
def test_weights_gradients_and_moments_are_sums_over_the_modules(precision: str) -> None:
    """At full width; depth 2 of 32 blocks, which are all alike (below)."""
    sizes = replace(TWO_B, depth=2)
    estimate = counted(sizes, replace(PAPER, precision=precision))
    with torch.device("meta"):
        named = dict(InfinityTransformer(sizes).named_parameters())
    in_blocks = {n: p for n, p in named.items() if n.startswith("blocks.")}
    trained = {n: p for n, p in in_blocks.items() if ".ca." in n or ".ffn." in n}
    half: set[str] = set()
    if precision == "bf16":
        half = {n for n, p in in_blocks.items() if n not in trained and p.ndim == 2}
    if precision == "bf16-weights":
        half = set(in_blocks)
    assert estimate.weights == sum(p.numel() * (2 if n in half else 4) for n, p in named.items())
    assert estimate.gradients == sum(
        p.numel() * (2 if n in half else 4) for n, p in trained.items()
    )
    assert estimate.optimiser == 2 * estimate.gradients
    with torch.device("meta"):
        assert estimate.resident == 4 * sum(p.numel() for p in BSQVAE(SMALL_VAE).parameters())


def test_an_adapters_share_of_weights_gradients_and_moments() -> None:
    sizes = replace(TWO_B, depth=2)
    estimate = counted(sizes, replace(PAPER, lora_rank=16))
    with torch.device("meta"):
        module = InfinityTransformer(sizes)
    matrices = [
        p
        for n, p in module.named_parameters()
        if n.startswith("blocks.") and (".ca." in n or ".ffn." in n) and p.ndim == 2
    ]
    factors = sum(16 * sum(p.shape) for p in matrices)
    half = {n for n, p in module.named_parameters() if n.startswith("blocks.") and p.ndim == 2}
    base = sum(p.numel() * (2 if n in half else 4) for n, p in module.named_parameters())
    assert estimate.gradients == 4 * factors
    assert estimate.optimiser == 8 * factors
    assert estimate.weights == base + 4 * factors


@pytest.mark.parametrize("precision", ["fp32", "bf16-weights"])
def test_moments_as_torch_makes_them(precision: str) -> None:
    model = model_of(SCHEDULE)
    config = replace(TRAIN, precision=precision)
    with training_mode(model, trainable(model, config.parts), config, 0) as (parameters, _):
        for p in parameters.values():
            p.grad = torch.ones_like(p)
        optimiser = new_optimiser(config, parameters)
        optimiser.step()
        moments = [s[k] for s in optimiser.state.values() for k in ("exp_avg", "exp_avg_sq")]
        expected = sum(t.numel() * t.element_size() for t in moments)
        assert 2 * size_of(parameters.values()) == expected


@pytest.mark.parametrize("rank", [0, 2])
@pytest.mark.parametrize("checkpointing", [False, True])
@pytest.mark.parametrize("precision", ["fp32", "bf16"])
def test_activations_are_what_a_real_step_saves(
    precision: str, checkpointing: bool, rank: int
) -> None:
    """Autograd's saved tensors on real ones, and with checkpointing what the blocks are given."""
    config = replace(TRAIN, precision=precision, checkpointing=checkpointing, lora_rank=rank)
    estimate = counted(TINY, config)
    model = model_of(SCHEDULE, depth=3)
    pairs, text = blank_pairs(model, 5)
    with training_mode(model, trainable(model, config.parts), config, 0):
        known = storages([*model.weights().parameters(), *model.transformer.positions(SCHEDULE)])
        saved: list[Tensor] = []

        def keep(tensor: Tensor) -> Tensor:
            saved.append(tensor)
            return tensor

        def given(block: Any, inputs: tuple[Any, ...]) -> None:
            x, state = inputs[0], inputs[1]
            saved.extend([x, *vars(state).values()])

        handles = []
        if checkpointing:
            blocks = model.transformer.blocks
            handles = [block.register_forward_pre_hook(given) for block in blocks]
        rollout, prompts = pairs.select([0, 1]), text.select([0, 1])
        with torch.autograd.graph.saved_tensors_hooks(keep, lambda tensor: tensor):
            logits = model.logits(rollout, prompts)
        for handle in handles:
            handle.remove()
        kept = storages([*saved, logits])
        expected = size({key: s for key, s in kept.items() if key not in known})
    # What the trace holds besides: rows picked for the batch, and a mask made for the attention.
    slack = sum(t.nbytes for t in (rollout.tokens, rollout.inputs, prompts.rows, prompts.lengths))
    assert 0 <= estimate.activations - expected <= slack + 1000
    assert slack < expected / 4


@pytest.mark.parametrize("checkpointing", [False, True])
def test_a_step_on_fake_tensors_counts_what_a_real_one_does(checkpointing: bool) -> None:
    config = replace(TRAIN, precision="bf16", checkpointing=checkpointing, lora_rank=2)
    model = model_of(SCHEDULE, depth=3)
    gc.collect()
    fake = counted(TINY, config)
    real = training_memory(model, *blank_pairs(model, 5), config, fake.resident)
    for f in fields(TrainingMemory):
        a, b = getattr(real, f.name), getattr(fake, f.name)
        assert abs(a - b) <= 0.01 * b, f.name


@pytest.mark.parametrize("rank", [0, 2])
@pytest.mark.parametrize("checkpointing", [False, True])
def test_every_part_is_linear_in_depth(checkpointing: bool, rank: int) -> None:
    config = replace(TRAIN, checkpointing=checkpointing, lora_rank=rank, precision="bf16")
    two, three, six = (counted(replace(TINY, depth=depth), config) for depth in (2, 3, 6))
    for f in fields(TrainingMemory):
        first, second, third = (getattr(found, f.name) for found in (two, three, six))
        assert third == first + 4 * (second - first), f.name


def at_full_depth(config: FineTuneConfig) -> TrainingMemory:
    """Infinity-2B at 1M pixels with the paper's 50 pairs, from 2 and 3 of its 32 blocks."""
    two, three = (
        counted(replace(TWO_B, depth=d), config, "1M", pairs=50, vae=TWO_B_VAE) for d in (2, 3)
    )
    parts = {
        f.name: getattr(two, f.name) + 30 * (getattr(three, f.name) - getattr(two, f.name))
        for f in fields(TrainingMemory)
    }
    return TrainingMemory(**parts)


def test_svare_on_2b_fits_80_gb_and_with_adapters_24() -> None:
    """With the settings that the model's config gives; a tenth is left for what is not counted."""
    resolved = resolve("infinity-2b", "smoke", "svare")
    assert (resolved.model.transformer, resolved.model.tokenizer) == (TWO_B, TWO_B_VAE)  # type: ignore[attr-defined]
    assert resolved.model.pn == "1M"  # type: ignore[attr-defined]
    train: FineTuneConfig = resolved.method.train
    assert train.batch == 2
    full = at_full_depth(train)
    assert full.peak < 0.9 * 80 * GB
    assert abs(full.optimiser - 8 * 1.611e9) < 1e7
    assert abs(full.resident - 4 * 110.1e6) < 1e6
    assert at_full_depth(replace(train, lora_rank=16)).peak < 0.9 * 24 * GB
    assert at_full_depth(replace(train, precision="bf16-weights")).peak < 0.9 * 40 * GB
    without = at_full_depth(replace(train, checkpointing=False))
    assert without.peak > 80 * GB
    assert without.activations > 8 * full.activations


def test_the_peak_is_the_sum_of_all_parts() -> None:
    parts = {f.name: (i + 1) * GB for i, f in enumerate(fields(TrainingMemory))}
    assert TrainingMemory(**parts).peak == 45 * GB


@pytest.mark.gpu
@pytest.mark.parametrize("checkpointing", [False, True])
def test_a_step_on_a_gpu_needs_what_was_counted(checkpointing: bool) -> None:
    sizes = TransformerConfig(512, depth=4, heads=8, bits=16)
    config = FineTuneConfig(precision="bf16", checkpointing=checkpointing)
    expected = counted(sizes, config, pn="0.25M", pairs=2)
    with torch.device("cuda"):
        parts = InfinityTransformer(sizes), BSQVAE(SMALL_VAE), None
        model = InfinityModel("gpu", *parts, schedule_for("0.25M"), Sampling())
        pairs, text = blank_pairs(model, 2)
        torch.cuda.reset_peak_memory_stats()
        training_memory(model, pairs, text, config)
    counted_here = expected.peak - expected.optimiser - expected.teacher_logits
    assert torch.cuda.max_memory_allocated() == pytest.approx(counted_here, rel=0.15)
