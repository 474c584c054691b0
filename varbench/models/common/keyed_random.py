"""Uniform numbers that depend only on what they are for: (prompt id, seed, scale, token, symbol).

Every sampled bit gets its own number from a counter-based generator (SplitMix64 steps, Steele et
al. 2014), computed with wrapping 64-bit integers, so that batch composition, order, resume,
number of workers and device cannot change it, and methods compared on one prompt and seed share
their random numbers (common random numbers make the comparison paired).
"""

from __future__ import annotations

import hashlib
from collections.abc import Sequence

import torch
from torch import Tensor


def _signed(value: int) -> int:
    value %= 1 << 64
    return value - (1 << 64) if value >> 63 else value


def _shift(x: Tensor, bits: int) -> Tensor:
    return (x >> bits) & ((1 << (64 - bits)) - 1)  # torch's shift of int64 keeps the sign


def _mix(x: Tensor) -> Tensor:
    x = (x ^ _shift(x, 30)) * _signed(0xBF58476D1CE4E5B9)
    x = (x ^ _shift(x, 27)) * _signed(0x94D049BB133111EB)
    return x ^ _shift(x, 31)


def stream(prompt: str, seed: int, scale: int) -> int:
    """Start of the number stream of one scale of one image (signed 64-bit)."""
    text = f"{prompt}/{seed}/{scale}".encode()
    return _signed(int.from_bytes(hashlib.sha256(text).digest()[:8], "little"))


def uniforms(
    keys: Sequence[tuple[str, int]], scale: int, tokens: int, symbols: int, device: torch.device
) -> Tensor:
    """Uniform numbers in (0, 1) for one scale, ``[B, tokens, symbols]`` float32.

    Args:
        keys: one (prompt id, image seed) per image.
        scale: index of the scale.
        tokens: tokens of the scale, row-major.
        symbols: bits (or index draws) per token.
        device: where the result lives; the numbers are the same everywhere.
    """
    starts = torch.tensor([stream(p, s, scale) for p, s in keys], dtype=torch.int64)
    counter = torch.arange(1, tokens * symbols + 1, dtype=torch.int64, device=device)
    mixed = _mix(starts.to(device)[:, None] + counter * _signed(0x9E3779B97F4A7C15))
    # 23 bits and half a step are exact in float32 (24 would round up to 1) and keep 0 and 1 out.
    numbers = (_shift(mixed, 41).to(torch.float32) + 0.5) * 2.0**-23
    return numbers.view(len(keys), tokens, symbols)
