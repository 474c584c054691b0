"""Fast sampling and decoding: nothing is done twice, and what is done otherwise agrees."""

from __future__ import annotations

import shutil
from collections.abc import Sequence
from typing import Any

import pytest
import torch
import torch.nn.functional as F
from torch import Tensor

from tests.helpers.guidance import Traced
from tests.helpers.infinity_tiny import random_texts, randomise, tiny_model
from varbench.models.common import autoencoder
from varbench.models.common.autoencoder import ResBlock, Upsample, doubled
from varbench.models.common.execution import Execution
from varbench.models.common.layers import rotate
from varbench.models.common.sampling import sample_scales
from varbench.models.infinity import model as infinity
from varbench.models.infinity.config import TokenizerConfig, TransformerConfig
from varbench.models.infinity.model import InfinityModel
from varbench.models.infinity.schedules import schedule_for
from varbench.models.infinity.text import TextCondition
from varbench.models.infinity.tokenizer import BSQVAE
from varbench.models.infinity.transformer import InfinityTransformer
from varbench.models.protocol import Rollout, Sampling
from varbench.pipeline.estimate.live_bytes import LiveBytes

LENGTHS = (8, 3, 3, 1)
KEYS = [(f"prompt {i}", i) for i in range(len(LENGTHS))]


@pytest.fixture
def model() -> InfinityModel:
    return tiny_model(seed=3)


@pytest.fixture(scope="module")
def texts() -> TextCondition:
    return random_texts(LENGTHS, 128, 8)


def wide_model(seed: int = 0) -> InfinityModel:
    """Wide enough for the kernels that real sizes take; 256 x 256 pixels."""
    config = TransformerConfig(256, depth=2, heads=4, bits=16, text_width=256, text_maxlen=40)
    vae = BSQVAE(TokenizerConfig(16, 32, (1, 1, 2, 2, 2), encoder_blocks=1))
    parts = randomise(InfinityTransformer(config), seed), vae, None
    return InfinityModel("wide", *parts, schedule_for("0.06M"), Sampling())


# -- the text is read once, and alone -----------------------------------------------------------


def test_each_block_reads_each_prompt_once(model: InfinityModel, texts: TextCondition) -> None:
    read = [0, 0]
    for block, module in enumerate(model.transformer.blocks):

        def count(_: object, given: tuple[Tensor], block: int = block) -> None:
            assert given[0].shape[0] == 1
            read[block] += given[0].shape[1]

        module.ca.mat_kv.register_forward_pre_hook(count)  # type: ignore[union-attr]
    model.generate(texts, KEYS)
    assert read == [2 * sum(LENGTHS)] * 2  # prompt and null rows, no padding


def test_neighbours_of_other_lengths_do_not_matter() -> None:
    """Their prompts are grouped by length, which must not show in a bit."""
    model = wide_model()
    alike, other = random_texts((20, 20, 20), 256, 40), random_texts((7, 40), 256, 40, seed=1)
    keys = [("a", 0), ("b", 1), ("c", 2)]
    actual = model.generate(alike, keys).tokens
    mixed = TextCondition(
        torch.cat([alike.rows[:1], other.rows]), torch.cat([alike.lengths[:1], other.lengths])
    )
    assert torch.equal(model.generate(mixed, keys).tokens[0], actual[0])
    assert torch.equal(
        model.generate(mixed.select([1, 2, 0]), keys[1:] + keys[:1]).tokens[2], actual[0]
    )


def test_sampling_in_place_leaves_what_it_was_given(
    model: InfinityModel, texts: TextCondition
) -> None:
    state = model.read(texts)
    before = [t.clone() for t in vars(state).values()]
    weights = {name: p.clone() for name, p in model.transformer.state_dict().items()}
    actual = [
        sample_scales(
            model.transformer, state, model.code_sum(), KEYS, model.sampling, model.guidance(1.0),
            branches=1,
        )
        for _ in range(2)
    ]  # fmt: skip
    assert torch.equal(actual[0].tokens, actual[1].tokens)
    assert all(torch.equal(a, b) for a, b in zip(before, vars(state).values(), strict=True))
    after = model.transformer.state_dict()
    assert all(torch.equal(after[name], value) for name, value in weights.items())


@pytest.mark.parametrize("head", [8, 96, 128])
def test_both_ways_of_turning_agree(head: int) -> None:
    """Teacher forcing and sampling turn queries and keys by different formulas."""
    x, angle = torch.randn(2, 7, 3, head).transpose(1, 2), torch.randn(7, head // 2)
    taught = rotate(x, angle.cos(), angle.sin())
    with torch.no_grad():
        actual = rotate(x, angle.cos(), angle.sin())
    torch.testing.assert_close(actual, taught, rtol=0, atol=1e-6)


# -- decoding -----------------------------------------------------------------------------------


@pytest.mark.parametrize("size", [(1, 1), (3, 5), (4, 4)])
def test_doubled_is_nearest_neighbour_then_convolution(size: tuple[int, int]) -> None:
    generator = torch.Generator().manual_seed(0)
    x = torch.randn(2, 6, *size, dtype=torch.float64, generator=generator)
    weight = torch.randn(5, 6, 3, 3, dtype=torch.float64, generator=generator)
    bias = torch.randn(5, dtype=torch.float64, generator=generator)
    large = F.interpolate(x, scale_factor=2.0, mode="nearest")
    expected = F.conv2d(large, weight, bias, padding=1)
    torch.testing.assert_close(doubled(x, weight, bias), expected, rtol=0, atol=1e-12)


def test_large_maps_alone_are_doubled_so(monkeypatch: pytest.MonkeyPatch) -> None:
    """Small ones keep the bits of the plain way; where a gradient is wanted all do."""
    layer = Upsample(8)
    used: list[Tensor] = []

    def watched(x: Tensor, *rest: Any) -> Tensor:
        used.append(x)
        return doubled(x, *rest)

    monkeypatch.setattr(autoencoder, "doubled", watched)
    monkeypatch.setattr(autoencoder, "LARGE", 8 * 16)
    small, large = torch.randn(3, 8, 3, 5), torch.randn(3, 8, 4, 4)
    expected = layer(small), layer(large)
    assert not used
    with torch.no_grad():
        assert torch.equal(layer(small), expected[0])
        assert not used
        torch.testing.assert_close(layer(large), expected[1], rtol=0, atol=1e-5)
        assert len(used) == 1


@pytest.mark.parametrize("out", [32, 64])
def test_in_place_blocks_give_the_same_bits(out: int) -> None:
    block, x = ResBlock(32, out), torch.randn(2, 32, 6, 5)
    retained = x.clone()
    expected = block(x)
    with torch.no_grad():
        assert torch.equal(block(x), expected)
    assert torch.equal(x, retained)


def test_decoding_needs_the_same_memory_for_any_number() -> None:
    """Beyond the images themselves, of which there are two copies in the end."""
    model, peaks = wide_model(), {}
    for count in (1, 3):
        with LiveBytes() as live:
            images = model.decode(blank(model, count))
        peaks[count] = live.peak
    image_bytes = images[:1].numel() * 4
    assert images.shape == (3, 3, 256, 256)
    assert peaks[1] > 20 * image_bytes  # what memory would grow by without slices
    assert peaks[3] - peaks[1] < 5 * 2 * image_bytes


def test_slices_give_the_images(monkeypatch: pytest.MonkeyPatch) -> None:
    model = wide_model()
    rollout = model.generate(random_texts((5, 9, 2), 256, 40), KEYS[:3])
    actual = model.decode(rollout)
    monkeypatch.setattr(infinity, "DECODED_PIXELS", 2 * 256 * 256)
    torch.testing.assert_close(model.decode(rollout), actual, rtol=0, atol=1e-4)
    model.batch = 1
    alone = torch.cat([model.decode(rollout.select([i])) for i in range(3)])
    assert torch.equal(model.decode(rollout), alone)


def test_a_decoder_in_bfloat16() -> None:
    model = wide_model()
    rollout = model.generate(random_texts((5,), 256, 40), KEYS[:1])
    expected = model.decode(rollout)
    model.execution = Execution(bf16_decoder=True)
    actual = model.decode(rollout)
    assert actual.dtype == torch.float32
    difference = (actual - expected).abs()
    assert 1e-5 < difference.mean() < 0.04 * expected.std()
    assert torch.equal(model.generate(random_texts((5,), 256, 40), KEYS[:1]).tokens, rollout.tokens)


def blank(model: InfinityModel, count: int) -> Rollout:
    """Images of zeros."""
    length, bits = model.schedule.total, model.transformer.config.bits
    tokens = torch.zeros(count, length, bits, dtype=torch.uint8)
    return Rollout(tokens, torch.zeros(count, length - 1, bits), model.schedule)


# -- compiled blocks ----------------------------------------------------------------------------


class Queries:
    """A guidance that looks at the queries of the last block."""

    query_blocks: Sequence[int] = (1,)

    def __init__(self) -> None:
        self.observed: list[Tensor] = []

    def branches(self, model: object, condition: Any) -> list[Any]:
        return [condition]

    def see(self, scale: int, queries: list[Tensor]) -> None:
        self.observed += [q.clone() for q in queries]

    def combine(self, scale: int, logits: list[Tensor]) -> Tensor:
        return logits[0]


def logits_of(
    model: InfinityModel, texts: TextCondition, keys: Sequence[tuple[str, int]]
) -> Tensor:
    traced = Traced(model.guidance(1.0))
    model.generate(texts, keys, sampling=Sampling(), guidance=traced)
    return traced.logits


@pytest.mark.slow
@pytest.mark.skipif(shutil.which("g++") is None, reason="torch.compile needs a C++ compiler")
@pytest.mark.parametrize("bf16", [False, True])
def test_compiled_blocks_agree(bf16: bool, texts: TextCondition) -> None:
    """One compilation serves all blocks, scales, batches and lengths of text."""
    torch.compiler.reset()
    model, few = tiny_model(seed=3), texts.select([1, 3])
    actual = []
    for compiled in (False, True):
        model.execution = Execution(bf16=bf16, compile=compiled)
        logits = logits_of(model, texts, KEYS)
        with torch.compiler.set_stance("fail_on_recompile" if compiled else "default"):
            again = logits_of(model, few, KEYS[:2])
            guidance = Queries()
            model.generate(texts, KEYS, guidance=guidance)
        actual.append((logits, again, *guidance.observed))
    assert len(actual[1]) == 2 + len(model.schedule.scales)
    if bf16:  # until the first bit that rounding changes
        actual = [(logits[:, :5], again[:, :5], observed[0]) for logits, again, *observed in actual]
    for plain, fast in zip(*actual, strict=True):
        difference = (fast - plain).abs()
        if bf16:
            assert difference.mean() < 0.05 * plain.std()
        else:
            assert difference.max() < 1e-4
    forced = model.logits(model.generate(texts, KEYS), texts)
    assert forced.requires_grad
    forced.sum().backward()


# -- on a GPU -----------------------------------------------------------------------------------


@pytest.mark.gpu
@pytest.mark.skipif(not torch.cuda.is_available(), reason="no CUDA device")
@pytest.mark.parametrize("compiled", [False, True])
@pytest.mark.parametrize("bf16", [False, True])
def test_a_gpu_gives_the_cpus_logits(bf16: bool, compiled: bool) -> None:
    torch.compiler.reset()
    cpu, device = wide_model(), torch.device("cuda")
    texts, keys = random_texts((5, 20, 20, 37), 256, 40), KEYS
    rollout = cpu.generate(texts, keys)
    gpu = wide_model()
    gpu.transformer.to(device)
    gpu.tokenizer.to(device)
    gpu.execution = Execution(bf16=bf16, compile=compiled, bf16_decoder=bf16)
    there = TextCondition(texts.rows.to(device), texts.lengths.to(device))
    actual = logits_of(gpu, there, keys).cpu()
    scales = actual[:, :1], logits_of(cpu, texts, keys)[:, :1]  # before bits can part
    difference = (scales[0] - scales[1]).abs().mean() / scales[1].std()
    assert difference < (0.05 if bf16 else 1e-4)
    moved = Rollout(rollout.tokens.to(device), rollout.inputs.to(device), rollout.schedule)
    images = gpu.decode(moved).cpu() - cpu.decode(rollout)
    assert images.abs().mean() < (0.02 if bf16 else 2e-3)  # TF32 convolutions
    with torch.no_grad():
        forced = gpu.logits(moved, there).cpu() - cpu.logits(rollout, texts)
    assert forced.abs().mean() < (0.1 if bf16 else 1e-3)


@pytest.mark.gpu
@pytest.mark.skipif(not torch.cuda.is_available(), reason="no CUDA device")
def test_sampling_on_a_gpu_needs_little_beside_its_cache() -> None:
    """At the width of Infinity-2B, four of its blocks: keys and values, and one step's tensors."""
    config = TransformerConfig(2048, depth=4, heads=16, bits=32)
    with torch.device("cuda"):
        transformer = InfinityTransformer(config).requires_grad_(False)
        rows = torch.randn(2, 512, 2048)
    transformer.blocks.to(torch.bfloat16)
    vae = BSQVAE(TokenizerConfig(32, 32, (1,)))
    model = InfinityModel("2b", transformer, vae, None, schedule_for("1M"), Sampling())
    model.execution = Execution(bf16=True)
    texts = TextCondition(rows, torch.tensor([40, 25], device="cuda"))
    before = torch.cuda.memory_allocated()
    torch.cuda.reset_peak_memory_stats()
    rollout = model.generate(texts, KEYS[:2])
    needed = torch.cuda.max_memory_allocated() - before
    cache = 2 * 2 * 2 * 4 * schedule_for("1M").total * 2048 * 2
    step = 4 * schedule_for("1M").lengths[-1] * 2048 * 4  # one float32 map of all rows
    assert cache < needed < cache + 14 * step
    assert rollout.tokens.shape == (2, 10521, 32)
