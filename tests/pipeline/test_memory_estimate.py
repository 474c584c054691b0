"""The memory that `varbench plan` tells: sums over modules, and counts on real tensors."""

from __future__ import annotations

import dataclasses
import re
from typing import Any

import pytest
import torch

from tests.helpers.cli import varbench
from tests.helpers.plan import planned, rows
from tests.helpers.tiny import SCHEDULE
from varbench.conf.compose import resolve
from varbench.models.infinity.config import InfinityConfig
from varbench.models.infinity.text import TextCondition
from varbench.models.infinity.tokenizer import BSQVAE
from varbench.models.infinity.transformer import InfinityTransformer
from varbench.models.registry import load_model
from varbench.pipeline.estimate import memory as memory_module
from varbench.pipeline.estimate.live_bytes import LiveBytes
from varbench.pipeline.estimate.memory import (
    GenerationMemory,
    MemoryEstimate,
    Training,
    memory_estimate,
)

GB = 10**9
TINY = [
    "model.transformer.width=64", "model.transformer.heads=2", "model.transformer.depth=4",
    "model.transformer.text_width=128", "model.transformer.text_maxlen=16", "model.chunks=1",
    "model.tokenizer.base_width=32", "model.batch=3",
]  # fmt: skip


@pytest.fixture
def three_scales(monkeypatch: pytest.MonkeyPatch) -> None:
    """Fewer operations to count; the figures are as linear as those of thirteen scales."""
    monkeypatch.setattr(InfinityConfig, "schedule", lambda self: SCHEDULE)


def parts(text: str, title: str) -> dict[str, float]:
    """Bytes of one table by the first word of its lines."""
    lines = text[text.index(title) :].splitlines()[1:]
    sizes = {}
    for line in lines:
        match = re.match(r"^  (.*\S) +(\d+\.\d+)$", line)
        if match is None:
            break
        sizes[match[1]] = float(match[2]) * GB
    return sizes


@pytest.fixture(scope="module")
def two_b(tmp_path_factory: pytest.TempPathFactory) -> str:
    """S-VARE on Infinity-2B, planned where there are no weights."""
    folder = tmp_path_factory.mktemp("no-weights")
    args = ("--model", "infinity-2b", f"model.weights={folder}", "--device", "cpu")
    refused = varbench("run", *args, "--store", str(folder / "store"))
    assert refused.exit_code == 2
    assert "weights are missing" in refused.output
    return planned(folder / "store", *args)


def test_without_weights_the_work_is_counted_all_the_same(two_b: str) -> None:
    assert "weights missing, so the store cannot be searched" in two_b
    assert "infinity_2b_reg.pth" in two_b
    table = rows(two_b)
    assert {row.held for row in table.values()} == {None}
    assert {stage: row.asked for stage, row in table.items()} == {
        "edit": 1,
        "pictures": 2 * (240 + 240 + 240),
        "rollouts": 2 * 25 + 50 + 16,
        "probe": 2 * 2 * 25,
        "attack": 2,
        "completions": 4 * 50,
        "attacked": 2 * 50,
        "scores": 3 * 2 * (240 + 240 + 240) + (4 + 2) * 50,
        "cell": 2,
    }
    bound = 3 * 1024 * 1024 * 2 * 720
    assert table["pictures"].rest.startswith(f"at most {bound / 1e9:.3g} GB")


def test_2b_is_a_sum_over_its_modules(two_b: str) -> None:
    """Weights in bf16 where the config has it; everything about training as in its own tests."""
    config: Any = resolve("infinity-2b", "smoke", "svare").model
    with torch.device("meta"):
        named = dict(InfinityTransformer(config.transformer).named_parameters())
        others = sum(4 * p.numel() for p in BSQVAE(config.tokenizer).parameters())
    generating = parts(two_b, "memory of generating 4 images at once")
    weights, resident, encoders, sampling, decoding, peak = generating.values()
    blocks = {n: p for n, p in named.items() if n.startswith("blocks.")}
    half = sum(p.numel() * (2 if n in blocks else 4) for n, p in named.items())
    assert weights == pytest.approx(half, abs=0.001 * GB)
    assert resident == pytest.approx(others, abs=0.001 * GB)
    assert encoders == pytest.approx(2 * config.files.text_parameters, abs=0.001 * GB)
    keys_and_values = 4 * config.cache_bytes()
    assert keys_and_values < sampling < 1.25 * keys_and_values
    assert peak == pytest.approx(weights + resident + max(encoders, sampling, decoding), abs=2e6)
    training = parts(two_b, "memory of training by svare")
    total = training.pop("peak: the sum")
    assert total == pytest.approx(sum(training.values()), abs=0.005 * GB)
    changed = {n: p for n, p in blocks.items() if ".ca." in n or ".ffn." in n}
    trained = 4 * sum(p.numel() for p in changed.values())
    assert training["gradients"] == pytest.approx(trained, abs=0.001 * GB)
    assert training["optimiser"] == pytest.approx(2 * trained, abs=0.001 * GB)
    master = sum(
        p.numel() * (2 if n in blocks and n not in changed and p.ndim == 2 else 4)
        for n, p in named.items()
    )
    assert training["weights"] == pytest.approx(master, abs=0.001 * GB)
    assert rows(two_b)["edit"].rest.startswith(f"{trained / 1e9:.3g} GB")
    assert f"during training {2 * 3 * trained / 1e9:.3g} GB more" in two_b


@pytest.mark.usefixtures("three_scales")
def test_what_few_blocks_tell_is_true_of_all(monkeypatch: pytest.MonkeyPatch) -> None:
    options: list[dict[str, int]] = [{}, {"lora_rank": 2}, {"blocks": 1}]
    config = resolve("infinity-125m", "smoke", "svare", TINY)
    train = dataclasses.replace(config.method.train, parts=tuple(config.method.train.parts))
    trainings = [Training(dataclasses.replace(train, **o), 5) for o in options]
    few = memory_estimate(config.model, 50, trainings)
    monkeypatch.setattr(memory_module, "FEW", 4)
    assert few == memory_estimate(config.model, 50, trainings)
    assert few is not None
    assert few.batch == 3
    assert not any(isinstance(needs, str) for needs in few.training.values())


def real_generation(batch: int) -> GenerationMemory:
    """The Gallery's own, on real tensors, with prompts of the greatest length."""
    model: Any = load_model(resolve("gallery", "smoke", "none").model, "cpu")
    config = model.transformer.config
    rows = torch.randn(batch, config.text_maxlen, config.text_width)
    condition = TextCondition(rows, torch.full((batch,), config.text_maxlen))
    with LiveBytes() as sampling:
        rollout = model.generate(condition, [("real", seed) for seed in range(batch)])
    with LiveBytes() as decoding:
        model.decode(rollout)
    networks = [model.tokenizer, model.text_encoder.encoder]
    return GenerationMemory(
        weights=sum(p.nbytes for p in model.transformer.parameters()),
        resident=sum(p.nbytes for network in networks for p in network.parameters()),
        text_encoder=0,
        sampling=sampling.peak,
        decoding=decoding.peak,
    )


def test_the_gallerys_count_is_what_real_tensors_take() -> None:
    estimate = memory_estimate(resolve("gallery", "smoke", "none").model, 5, [])
    assert estimate is not None
    real = real_generation(5)
    for f in dataclasses.fields(GenerationMemory):
        counted, taken = getattr(estimate.generation, f.name), getattr(real, f.name)
        assert counted == pytest.approx(taken, rel=0.02), f.name


def test_peaks() -> None:
    assert GenerationMemory(100, 10, 7, 5, 3).peak == 117
    assert GenerationMemory(100, 10, 1, 5, 3).peak == 115
    assert GenerationMemory(100, 10, 1, 2, 3).peak == 113


def test_a_model_that_cannot_sample_is_not_counted() -> None:
    @dataclasses.dataclass(frozen=True)
    class Theirs:
        name: str = "theirs"

    assert memory_estimate(Theirs(), 50, []) is None


@pytest.mark.usefixtures("three_scales")
def test_strict_models_take_one_image_at_a_time() -> None:
    config = resolve("infinity-125m", "smoke", "none", [*TINY, "model.strict=true"])
    estimate: MemoryEstimate | None = memory_estimate(config.model, 50, [])
    assert estimate is not None
    assert estimate.batch == 1
    assert estimate.image == 3 * 64 * 64
    assert estimate.rollout == 21 * 16 + 4 * 20 * 16  # a byte per bit, and float32 inputs
