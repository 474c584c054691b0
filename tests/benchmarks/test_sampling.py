"""The sampling benchmark runs at toy size; its literal loop draws the library's bits, and its
count of operations is torch's own.
"""

from __future__ import annotations

import sys
from collections.abc import Iterator, Sequence
from types import ModuleType

import pytest
import torch
from torch.utils.flop_counter import FlopCounterMode

from tests.helpers.infinity_tiny import random_texts, randomise, tiny_model
from tests.helpers.paths import ROOT
from varbench.models.common import autoencoder
from varbench.models.common.execution import Execution
from varbench.models.infinity.config import TokenizerConfig, TransformerConfig
from varbench.models.infinity.model import InfinityModel
from varbench.models.infinity.text import TextCondition
from varbench.models.infinity.tokenizer import BSQVAE
from varbench.models.infinity.transformer import InfinityTransformer
from varbench.models.protocol import Sampling, Schedule

FOLDER = ROOT / "benchmarks"
LENGTHS = (8, 3, 3, 1)
KEYS = [(f"prompt {i}", i) for i in range(len(LENGTHS))]
TINY = (
    "model.transformer.width=32 model.transformer.depth=2 model.transformer.heads=2 "
    "model.transformer.text_width=128 model.transformer.text_maxlen=8 "
    "model.tokenizer.base_width=32 model.tokenizer.width_multipliers=[1,1] "
    "model.tokenizer.encoder_blocks=1 --batch 2 --text-rows 5 8 --repeats 1 --device cpu"
)


@pytest.fixture(scope="module", autouse=True)
def folder() -> Iterator[None]:
    """The benchmarks import each other as scripts do."""
    with pytest.MonkeyPatch.context() as patch:
        patch.syspath_prepend(str(FOLDER))
        yield
    for name in ("sampling", "floor", "literal_infinity"):
        sys.modules.pop(name, None)


@pytest.fixture(scope="module")
def benchmark(folder: None) -> ModuleType:
    import sampling  # type: ignore[import-not-found]

    return sampling  # type: ignore[no-any-return]


@pytest.fixture(scope="module")
def floor(folder: None) -> ModuleType:
    import floor  # type: ignore[import-not-found]

    return floor  # type: ignore[no-any-return]


def patchified() -> InfinityModel:
    """As the 8B models: one token covers 2 x 2 positions of a tokenizer with other widths."""
    config = TransformerConfig(
        48, depth=2, heads=3, bits=12, text_width=256, text_maxlen=8, patchify=True
    )
    codes = TokenizerConfig(3, 24, (1, 2, 2), encoder_blocks=1)
    schedule = Schedule(((1, 1), (2, 2), (3, 2), (6, 4)))
    parts = randomise(InfinityTransformer(config), 5), BSQVAE(codes), None
    return InfinityModel("patchified", *parts, schedule, Sampling(2.0, 0.7, top_p=0.9))


def literal(model: InfinityModel, condition: TextCondition, sampling: Sampling) -> list[object]:
    from literal_infinity import Literal  # type: ignore[import-not-found]

    loop = Literal(model)
    return [
        loop.draw(condition.rows[i, :n], KEYS[i], sampling)
        for i, n in enumerate(condition.lengths.tolist())
    ]


@pytest.mark.parametrize("name", ["plain", "patchified"])
@pytest.mark.parametrize("given", [{}, {"guidance": 1.0}, {"top_k": 1, "top_p": 0.0}])
def test_the_literal_loop_draws_the_same_bits(name: str, given: dict[str, float]) -> None:
    """One prompt at a time, unpadded, against the batch: bits are equal, images close."""
    model = tiny_model(seed=3) if name == "plain" else patchified()
    texts = random_texts(LENGTHS, model.transformer.config.text_width, 8)
    sampling = Sampling(**{"guidance": 3.0, "temperature": 0.8, **given})  # type: ignore[arg-type]
    rollout = model.generate(texts, KEYS, sampling=sampling)
    images = model.decode(rollout)
    for i, drawn in enumerate(literal(model, texts, sampling)):
        assert torch.equal(drawn.bits[0], rollout.tokens[i])  # type: ignore[attr-defined]
        assert (drawn.image[0] - images[i]).abs().max() < 1e-5  # type: ignore[attr-defined]
    assert 0.1 < rollout.tokens.float().mean() < 0.9


def test_the_literal_loop_in_bfloat16_is_the_library_in_bfloat16() -> None:
    from literal_infinity import Literal

    model = tiny_model(seed=3)
    model.transformer.blocks.to(torch.bfloat16)
    model.execution = Execution(bf16=True)
    texts = random_texts(LENGTHS, 128, 8)
    tokens = model.generate(texts, KEYS).tokens
    loop = Literal(model, bf16=True)
    drawn = [loop.draw(texts.rows[i, :n], KEYS[i], model.sampling) for i, n in enumerate(LENGTHS)]
    found = torch.cat([one.bits for one in drawn])
    assert (found != tokens).float().mean() < 0.02
    full = Literal(model).draw(texts.rows[0, :8], KEYS[0], model.sampling)
    assert not torch.equal(full.bits, drawn[0].bits)


# -- operations -------------------------------------------------------------------------------


def counted(job: object) -> int:
    with FlopCounterMode(display=False) as counter:
        job()  # type: ignore[operator]
    return int(counter.get_total_flops())


def operations(floor: ModuleType, model: InfinityModel, rows: Sequence[int]) -> int:
    """Of the transformer, for a guided batch."""
    steps = floor.transformer_work(model.transformer.config, model.schedule, rows, branches=2)
    return sum(step.operations for step in steps)


@pytest.mark.parametrize("rows", [5, 1])
def test_the_literal_loop_does_what_was_counted(floor: ModuleType, rows: int) -> None:
    """Text keys and values at every scale, everything else once."""
    model = tiny_model(seed=3)
    config, scales = model.transformer.config, len(model.schedule.scales)
    texts = random_texts([rows], 128, 8)
    again = floor.text_work(config, rows, scales) - floor.text_work(config, rows)
    decoder = floor.decoder_work(model.tokenizer.config, model.layout.grids[-1]).operations
    expected = operations(floor, model, [rows]) + 2 * again + decoder
    assert counted(lambda: literal(model, texts, model.sampling)) == expected


def test_the_library_does_nothing_twice(floor: ModuleType) -> None:
    """The floor's count, and the padding of the text before the blocks read it."""
    model, texts = tiny_model(seed=3), random_texts(LENGTHS, 128, 8)
    config = model.transformer.config
    padding = sum(floor.text_work(config, 8, 0) - floor.text_work(config, n, 0) for n in LENGTHS)
    words = sum(model.schedule.lengths[1:]) * len(LENGTHS) * 2 * config.bits * config.width
    expected = operations(floor, model, LENGTHS) + 2 * padding + words  # inputs of both branches
    assert counted(lambda: model.generate(texts, KEYS)) == expected


def test_decoding_takes_fewer_operations_than_convolutions_would(
    floor: ModuleType, monkeypatch: pytest.MonkeyPatch
) -> None:
    codes = TokenizerConfig(3, 24, (1, 2, 2), encoder_blocks=1)
    vae = BSQVAE(codes).requires_grad_(False)
    plain = floor.decoder_work(codes, (4, 6)).operations

    def decode() -> None:
        with torch.no_grad():
            vae.decode(torch.randn(1, 3, 4, 6))

    assert counted(decode) == plain
    monkeypatch.setattr(autoencoder, "LARGE", 0)
    doubling = sum(2 * c * c * 9 * pixels for c, pixels in ((48, 4 * 24), (48, 16 * 24)))
    assert counted(decode) == plain - doubling * 5 // 9


def test_the_floor_is_the_longer_of_both_per_step(floor: ModuleType) -> None:
    work = floor.Work(operations=6e9, bytes=4e9)
    assert work.seconds(rate=2e9, bandwidth=8e9) == 3
    assert work.seconds(rate=2e9, bandwidth=1e9) == 4


def test_bytes_of_a_step(floor: ModuleType) -> None:
    """Weights of the blocks once per scale; keys and values of all tokens so far."""
    config = TransformerConfig(32, depth=2, heads=2, bits=6, text_width=128, text_maxlen=8)
    blocks = InfinityTransformer(config).blocks
    weights = sum(p.numel() for p in blocks.parameters())
    schedule = Schedule(((1, 1), (2, 2)))
    first, second = floor.transformer_work(config, schedule, [3, 3], branches=2, number=2)
    cache = 2 * 2 * 2 * 32 * 2  # branches, images and depth; keys and values, width, bytes
    assert first.bytes == 2 * weights + 2 * 1 * cache
    assert second.bytes == 2 * weights + 2 * 5 * cache


def test_rates_are_measured(floor: ModuleType) -> None:
    assert 1e7 < floor.matrix_rate([(64, 64, 64), (256, 256, 256)], torch.float32, "cpu") < 1e14
    assert 1e7 < floor.bandwidth("cpu", 1 << 20) < 1e13


# -- the script -------------------------------------------------------------------------------


@pytest.mark.parametrize("extra", ["", "--precision bf16 --decoder bf16 --literal bf16"])
def test_report(
    benchmark: ModuleType,
    extra: str,
    capsys: pytest.CaptureFixture[str],
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setattr(benchmark, "bandwidth", lambda device: 1e9)
    monkeypatch.setattr(benchmark, "matrix_rate", lambda shapes, dtype, device: 1e9)
    benchmark.main([*TINY.split(), *extra.split()])
    lines = capsys.readouterr().out.splitlines()
    assert lines[0].startswith("infinity-125m, 521 tokens, width 32, depth 2, text rows 5/8, cpu")
    precision = "bf16" if extra else "fp32"
    for line, name in ((3, f"literal loop, {precision}, batch 1"), (4, f"varbench, {precision}")):
        assert lines[line].startswith(name)
        numbers = [float(x) for x in lines[line].split()[-6:]]
        assert min(numbers[:4]) > 0
    assert float(lines[3].split()[-5]) == 1
    assert lines[5].startswith("operations per image: transformer 0 G, decoder")
    assert lines[6] == f"machine: 1 G matrix operations / s ({precision}), 1 GB / s"
    assert 0 < int(lines[7].removeprefix("share of the floor: ").removesuffix("%")) < 10_000


def test_peak_memory_and_the_share_of_the_floor(benchmark: ModuleType) -> None:
    bench = benchmark.Bench(benchmark.parser().parse_args(TINY.split()))
    few = bench.peak(bench.literal)
    assert few < bench.peak(bench.library) < 10 * few
    assert bench.floor(1e9, 1e9, 1e15) == pytest.approx(sum(bench.operations()) / 1e9)
    assert bench.floor(1e9, 5e8, 1e15) > bench.floor(1e9, 1e9, 1e15)
    assert bench.floor(1e15, 1e15, 1e9) > bench.floor(1e15, 1e15, 2e9)


def test_other_models_are_refused(
    benchmark: ModuleType, capsys: pytest.CaptureFixture[str]
) -> None:
    with pytest.raises(SystemExit):
        benchmark.main(["--config", "gallery"])
    assert "infinity-2b" in capsys.readouterr().err
