"""The two attentions of Switti: self-attention over scales and cross-attention to the text.

The norm of queries and keys runs over all heads at once and has no weights. In self-attention 2-D
rotary positions turn both: every scale is stretched over the square [0, 128] x [0, 128], so that
the corners of all scales coincide, whatever their number of tokens. The first half of a head's
channels turns with the column, the second half with the row; adjacent channels form a pair.

Shapes in names: B images, L visual tokens, T text rows, X text width, C width, H heads.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from varbench.models.common.layers import EPS, attend_by_scale, remembered, rotate, split_heads
from varbench.models.common.transformer import Rope
from varbench.models.protocol import Schedule

Past = tuple[Tensor, Tensor]
"""Buffers ``[B, H, L, C / H]`` of keys and values of all scales."""


@dataclass(frozen=True)
class BlockText:
    """The text as one block reads it: keys and values ``[B, H, T, C / H]``, AdaLN vectors."""

    keys: Tensor
    values: Tensor
    mask_BT: Tensor
    ada_B16C: Tensor


def normed_heads(x_BLC: Tensor, heads: int) -> Tensor:
    """Heads of rows that are normalised over all heads at once, without weights."""
    return split_heads(F.layer_norm(x_BLC, x_BLC.shape[-1:], eps=EPS), heads)


class SelfAttention(nn.Module):
    """Attention among visual tokens with normalised queries and keys and 2-D RoPE."""

    def __init__(self, width: int, heads: int, causal: bool) -> None:
        super().__init__()
        self.heads = heads
        self.causal = causal
        self.to_qkv = nn.Linear(width, 3 * width)
        self.proj = nn.Linear(width, width)

    def forward(
        self,
        x_BLC: Tensor,
        rope: Rope,
        lengths: Sequence[int],
        past: Past | None,
        start: int,
    ) -> Tensor:
        q, k, v = self.to_qkv(x_BLC).chunk(3, dim=-1)
        v = split_heads(v, self.heads)
        q = rotate(normed_heads(q, self.heads).float(), *rope).to(v.dtype)
        k = rotate(normed_heads(k, self.heads).float(), *rope).to(v.dtype)
        if past is not None:
            k, v = remembered(past, k, v, start)
        out = attend_by_scale(q, k, v, lengths, causal=self.causal, scale=None)
        return self.proj(out)  # type: ignore[no-any-return]


class CrossAttention(nn.Module):
    """Attention of visual tokens over the prompt's rows, queries and keys normalised."""

    def __init__(self, width: int, heads: int, text_width: int) -> None:
        super().__init__()
        self.heads = heads
        self.to_q = nn.Linear(width, width)
        self.to_kv = nn.Linear(text_width, 2 * width)
        self.proj = nn.Linear(width, width)

    def read(self, rows_BTX: Tensor) -> tuple[Tensor, Tensor]:
        """Keys and values of text rows."""
        k, v = self.to_kv(rows_BTX).chunk(2, dim=-1)
        return normed_heads(k, self.heads), split_heads(v, self.heads)

    def forward(self, x_BLC: Tensor, text: BlockText) -> Tensor:
        q = normed_heads(self.to_q(x_BLC), self.heads)
        mask = text.mask_BT[:, None, None]
        out = F.scaled_dot_product_attention(q, text.keys, text.values, attn_mask=mask)
        return self.proj(out.transpose(1, 2).flatten(2))  # type: ignore[no-any-return]


def rope_tables(schedule: Schedule, head_width: int) -> tuple[Tensor, Tensor]:
    """Cosines and sines ``[L, head_width / 2]`` float32 for all tokens of a schedule.

    Raises:
        ValueError: a grid is not square; the original defines no other.
    """
    exponents = torch.arange(0, head_width, 4, dtype=torch.float32) / head_width
    angles = []
    for height, width in schedule.scales:
        if height != width:
            raise ValueError(f"Switti has square grids only, got {height} x {width}")
        frequencies = 1.0 / 10_000.0**exponents * (128.0 / max(1, width - 1))
        side = torch.arange(width, dtype=torch.float32)[:, None] * frequencies
        x = side[None].expand(height, width, -1)
        y = side[:, None].expand(height, width, -1)
        angles.append(torch.cat([x, y], dim=-1).flatten(0, 1))
    every = torch.cat(angles)
    return every.cos(), every.sin()
