"""The three attentions of Infinity: text pool, self-attention over scales, cross-attention.

In self-attention a token attends to all tokens of its own and of earlier scales, and 2-D rotary
positions turn queries and keys (upstream's mode 2, the one all released models use). Every scale is
laid over the last grid (Hf, Wf) of its aspect ratio's 13-scale list: row i of a grid of height h
sits at integer position round(i * Hf / h). The first half of a head's channels turns with the row,
the second half with the column; adjacent channels form a pair.

Shapes in names: B images, L visual tokens, T text rows, C text width (in heads: head width), D
width, H heads.
"""

from __future__ import annotations

import math
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from itertools import repeat
from typing import Any

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from varbench.models.common.layers import attend_by_scale, remembered, rotate, split_heads
from varbench.models.common.transformer import Rope
from varbench.models.infinity.config import TransformerConfig
from varbench.models.infinity.schedules import full_grid
from varbench.models.protocol import Schedule


@dataclass
class TextState:
    """Text as the blocks read it: memory rows, their mask, pooled vector and AdaLN vectors."""

    memory_BTD: Tensor
    mask_BT: Tensor
    pooled: Tensor
    ada_B16D: Tensor

    @property
    def blocks(self) -> Iterator[TextState]:
        """The same for every block."""
        return repeat(self)


@dataclass(frozen=True)
class Past:
    """Tensors that one block keeps while a batch is sampled.

    Attributes:
        keys, values: of the visual tokens, preallocated for all scales, ``[B, H, L, D / H]``.
        text: keys and values ``[b, H, T, D / H]`` of the text, for consecutive groups of prompts
            of one length.
        ada: the six AdaLN vectors, ``[B, 1, D]``.
    """

    keys: Tensor
    values: Tensor
    text: list[tuple[Tensor, Tensor]]
    ada: tuple[Tensor, ...]


class TextReader(nn.Module):
    """Attention to the prompt's rows; how queries are made is the subclasses' matter."""

    def __init__(self, mat_q: Any, heads: int, text_width: int, width: int) -> None:
        super().__init__()
        self.heads = heads
        self.mat_q = mat_q
        self.mat_kv = nn.Linear(text_width, 2 * width, bias=False)
        self.v_bias = nn.Parameter(torch.zeros(width))
        self.proj = nn.Linear(width, width)

    def read(self, rows_BTC: Tensor) -> tuple[Tensor, Tensor]:
        """Keys and values ``[B, H, T, D / H]`` of text rows."""
        k, v = self.mat_kv(rows_BTC).chunk(2, dim=-1)
        return split_heads(k, self.heads), split_heads(v + self.v_bias.to(v.dtype), self.heads)

    def attend(self, q_BHLC: Tensor, rows_BTC: Tensor, mask_BT: Tensor) -> Tensor:
        """Values ``[B, L, D]`` of rows padded to one length, as the queries weigh them."""
        k, v = self.read(rows_BTC)
        out = F.scaled_dot_product_attention(q_BHLC, k, v, attn_mask=mask_BT[:, None, None])
        return out.transpose(1, 2).flatten(2)


class TextPool(TextReader):
    """Attention of one learned query over the prompt's rows (``text_proj_for_sos.ca``)."""

    mat_q: nn.Parameter

    def __init__(self, config: TransformerConfig) -> None:
        heads = config.pool_heads
        query = nn.Parameter(torch.randn(1, heads, config.width // heads) * 0.02)
        super().__init__(query, heads, config.text_width, config.width)

    def queries(self, prompts: int) -> Tensor:
        """The learned query for each prompt, ``[B, H, 1, D / H]``."""
        return self.mat_q.unsqueeze(2).expand(prompts, -1, -1, -1)

    def forward(self, rows_BTC: Tensor, mask_BT: Tensor) -> Tensor:
        pooled = self.attend(self.queries(len(rows_BTC)), rows_BTC, mask_BT)
        return self.proj(pooled.squeeze(1))  # type: ignore[no-any-return]


class SelfAttention(nn.Module):
    """Cosine attention with 2-D RoPE and a learned temperature per head."""

    def __init__(self, width: int, heads: int) -> None:
        super().__init__()
        self.heads = heads
        self.mat_qkv = nn.Linear(width, 3 * width, bias=False)
        self.q_bias = nn.Parameter(torch.zeros(width))
        self.v_bias = nn.Parameter(torch.zeros(width))
        self.scale_mul_1H11 = nn.Parameter(torch.full((1, heads, 1, 1), math.log(4.0)))
        self.proj = nn.Linear(width, width)

    def forward(
        self, x_BLD: Tensor, rope: Rope, lengths: Sequence[int], past: Past | None, start: int
    ) -> Tensor:
        q, k, v = self.mat_qkv(x_BLD).chunk(3, dim=-1)
        q, k, v = (
            split_heads(t, self.heads)
            for t in (q + self.q_bias.to(q.dtype), k, v + self.v_bias.to(v.dtype))
        )
        scale = self.scale_mul_1H11.float().clamp_max(math.log(100)).exp()
        q = rotate(F.normalize(q.float(), dim=-1, eps=1e-12) * scale, *rope).to(v.dtype)
        k = rotate(F.normalize(k.float(), dim=-1, eps=1e-12), *rope).to(v.dtype)
        if past is not None:
            k, v = remembered((past.keys, past.values), k, v, start)
        return self.proj(attend_by_scale(q, k, v, lengths))  # type: ignore[no-any-return]


class CrossAttention(TextReader):
    """Plain attention of visual tokens over the prompt's memory rows."""

    mat_q: nn.Linear

    def __init__(self, width: int, heads: int) -> None:
        super().__init__(nn.Linear(width, width), heads, width, width)

    # Not compiled: hooks on queries must run, and groups differ from batch to batch.
    @torch.compiler.disable  # type: ignore[untyped-decorator]
    def forward(self, x_BLD: Tensor, text: TextState, past: Past | None) -> Tensor:
        """Memory padded to one length, as in training, or what was read of it group by group."""
        q = split_heads(self.mat_q(x_BLD), self.heads)
        if past is None:
            return self.proj(self.attend(q, text.memory_BTD, text.mask_BT))  # type: ignore[no-any-return]
        parts = [
            F.scaled_dot_product_attention(rows, k, v).transpose(1, 2)
            for rows, (k, v) in zip(q.split([len(k) for k, _ in past.text]), past.text, strict=True)
        ]
        return self.proj(torch.cat(parts).flatten(2))  # type: ignore[no-any-return]


def positions(size: int, full: int) -> Tensor:
    """Integer positions ``[size]`` of a grid side on the full grid, halves rounded to even.

    Computed in float32 as upstream does, because a double would round some halves differently.
    """
    return torch.round(torch.arange(size, dtype=torch.float32) * (full / size)).long()


def rope_tables(schedule: Schedule, head_width: int) -> tuple[Tensor, Tensor]:
    """Cosines and sines ``[L, head_width / 2]`` float32 for all tokens of a schedule."""
    quarter = head_width // 4
    exponents = torch.arange(quarter, dtype=torch.float32) * 2 / (head_width // 2)
    inverse = 1.0 / (10_000.0**exponents)
    full_h, full_w = full_grid(schedule)
    rows = []
    for h, w in schedule.scales:
        y = positions(h, full_h).float()[:, None, None] * inverse
        x = positions(w, full_w).float()[None, :, None] * inverse
        angles = torch.cat([y.expand(h, w, quarter), x.expand(h, w, quarter)], dim=-1)
        rows.append(angles.reshape(h * w, 2 * quarter))
    angles = torch.cat(rows)
    return angles.cos(), angles.sin()
