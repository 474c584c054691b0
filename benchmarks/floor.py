"""The least that sampling a batch costs: operations of the matrix products, bytes that must move.

Counted from the sizes by arithmetic: two operations per multiply-add; text projected once per
block; direct convolutions. Elementwise work is not counted, as it could all be fused.
"""

from __future__ import annotations

import time
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass

import torch
from torch import Tensor

from varbench.models.infinity.config import TokenizerConfig, TransformerConfig
from varbench.models.infinity.transformer import Block
from varbench.models.protocol import Schedule


@dataclass(frozen=True)
class Work:
    """Operations and bytes of a step that must end before the next begins."""

    operations: float
    bytes: float

    def seconds(self, rate: float, bandwidth: float) -> float:
        """The least time at so many operations and bytes per second."""
        return max(self.operations / rate, self.bytes / bandwidth)


def text_work(config: TransformerConfig, rows: int, times: int = 1) -> float:
    """Operations of reading one prompt of so many rows; cross-attention reads it ``times``."""
    d, c = config.width, config.text_width
    pool = 2 * rows * c * 2 * d + 4 * rows * d + 2 * d * d
    vectors = 2 * d * 6 * d
    memory = 2 * rows * c * d + 2 * rows * d * d
    return pool + vectors + memory + times * config.depth * 2 * rows * d * 2 * d


def scale_work(config: TransformerConfig, tokens: int, seen: int, rows: int) -> float:
    """Operations of one scale in one branch: ``tokens`` new ones, ``seen`` with the earlier."""
    d = config.width
    weights = 4 * d * d + 2 * d * d + 2 * d * config.ffn_width
    attention = 2 * seen * d + 2 * rows * d
    head = tokens * 2 * d * 2 * config.bits + 2 * d * 2 * d
    return config.depth * tokens * 2 * (weights + attention) + head


def convolutions(config: TokenizerConfig, grid: tuple[int, int]) -> Iterator[tuple[int, ...]]:
    """(channels in, channels out, kernel side, pixels) of the decoder's convolutions."""
    widths = [config.base_width * m for m in config.width_multipliers]
    last, pixels = widths[-1], grid[0] * grid[1]
    yield config.bits, last, 3, pixels
    yield from [(last, last, 3, pixels)] * 4
    inp = last
    for level in reversed(range(len(widths))):
        out = widths[level]
        for _ in range(config.encoder_blocks + 1):
            yield inp, out, 3, pixels
            yield out, out, 3, pixels
            if inp != out:
                yield inp, out, 1, pixels
            inp = out
        if level:
            pixels *= 4
            yield out, out, 3, pixels
    yield inp, 3 * config.pixel_unshuffle**2, 3, pixels


def decoder_work(config: TokenizerConfig, grid: tuple[int, int], number: int = 4) -> Work:
    """One image's decoding; every convolution reads its input and writes its output."""
    every = list(convolutions(config, grid))
    operations = sum(2 * inp * out * side**2 * pixels for inp, out, side, pixels in every)
    moved = sum((inp + out) * pixels for inp, out, _, pixels in every)
    return Work(operations, number * moved)


def block_parameters(config: TransformerConfig) -> int:
    """Parameters of one block."""
    with torch.device("meta"):
        return sum(p.numel() for p in Block(config).parameters())


def transformer_work(
    config: TransformerConfig,
    schedule: Schedule,
    rows: Sequence[int],
    branches: int,
    number: int = 4,
) -> list[Work]:
    """Per scale of one batch; the text is read before the first.

    Args:
        config: sizes.
        schedule: grids.
        rows: text rows of every prompt.
        branches: guidance branches, all with the prompts' numbers of rows.
        number: bytes of a number, in the blocks' weights and in the cache.
    """
    weights = config.depth * block_parameters(config) * number
    steps, seen = [], 0
    for scale, tokens in enumerate(schedule.lengths):
        seen += tokens
        operations = branches * sum(scale_work(config, tokens, seen, n) for n in rows)
        if scale:  # all branches read the same bits
            operations += len(rows) * tokens * 2 * config.bits * config.width
        else:
            operations += branches * sum(text_work(config, n) for n in rows)
        cache = branches * len(rows) * 2 * config.depth * seen * config.width * number
        steps.append(Work(operations, weights + cache))
    return steps


# -- what the machine can do --------------------------------------------------------------------


def waiter(device: str) -> Callable[[], None]:
    """A call that returns when the device is done."""
    return torch.cuda.synchronize if device.startswith("cuda") else lambda: None


def seconds(job: Callable[[], object], device: str) -> float:
    """Wall-clock seconds until the device is done."""
    wait = waiter(device)
    wait()
    began = time.perf_counter()
    job()
    wait()
    return time.perf_counter() - began


@contextmanager
def convolution_precision(device: str) -> Iterator[None]:
    """Float32 products as convolutions on this device take them (TF32 on CUDA by default)."""
    found = torch.backends.cuda.matmul.fp32_precision
    if device.startswith("cuda"):
        torch.backends.cuda.matmul.fp32_precision = torch.backends.cudnn.conv.fp32_precision
    try:
        yield
    finally:
        torch.backends.cuda.matmul.fp32_precision = found


def matrix_rate(
    shapes: Sequence[tuple[int, int, int]], dtype: torch.dtype, device: str, repeats: int = 2
) -> float:
    """Operations per second of the fastest matrix product ``[m, k] x [k, n]`` among the shapes."""
    best = 0.0
    for m, k, n in shapes:
        a, b = (torch.randn(size, dtype=dtype, device=device) for size in ((m, k), (n, k)))
        for _ in range(repeats):
            spent = seconds(lambda a=a, b=b: torch.nn.functional.linear(a, b), device)  # type: ignore[misc]
            best = max(best, 2 * m * k * n / spent)
    return best


def bandwidth(device: str, numbers: int = 1 << 27) -> float:
    """Bytes per second that a copy of a large tensor reads and writes, best of two."""
    source = torch.ones(numbers, device=device)
    target: Tensor = torch.empty_like(source)
    return max(8 * numbers / seconds(lambda: target.copy_(source), device) for _ in range(3))
