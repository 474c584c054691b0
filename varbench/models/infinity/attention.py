"""The three attentions of Infinity: text pool, self-attention over scales, cross-attention.

Self-attention needs no mask: a token sees all tokens of its own and of earlier scales, so each
scale is one call over the keys so far. Shapes in names: B pictures, L visual tokens, T text rows,
C text width (in heads: head width), D width, H heads.
"""

from __future__ import annotations

import math
from collections.abc import Sequence

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from varbench.models.infinity.config import TransformerConfig
from varbench.models.infinity.rope import rotate

MAX_LOG_SCALE = math.log(100)


class TextPool(nn.Module):
    """Attention of one learned query over the prompt's rows (``text_proj_for_sos.ca``)."""

    def __init__(self, config: TransformerConfig) -> None:
        super().__init__()
        heads, width = config.pool_heads, config.width
        self.heads = heads
        self.mat_q = nn.Parameter(torch.randn(1, heads, width // heads) * 0.02)
        self.mat_kv = nn.Linear(config.text_width, 2 * width, bias=False)
        self.v_bias = nn.Parameter(torch.zeros(width))
        self.proj = nn.Linear(width, width)

    def forward(self, rows_BTC: Tensor, mask_BT: Tensor) -> Tensor:
        k, v = self.mat_kv(rows_BTC).chunk(2, dim=-1)
        k, v = (t.unflatten(-1, (self.heads, -1)).transpose(1, 2) for t in (k, v + self.v_bias))
        q = self.mat_q.unsqueeze(2).expand(len(rows_BTC), -1, -1, -1)
        out = F.scaled_dot_product_attention(q, k, v, attn_mask=mask_BT[:, None, None])
        return self.proj(out.transpose(1, 2).flatten(2).squeeze(1))  # type: ignore[no-any-return]


def attend_by_scale(
    q_BHLC: Tensor, k_BHLC: Tensor, v_BHLC: Tensor, lengths: Sequence[int]
) -> Tensor:
    """Block-causal attention without a mask: every scale over the keys up to its own end.

    Args:
        q_BHLC: queries of consecutive scales, already scaled.
        k_BHLC, v_BHLC: keys and values of the same tokens; more of them in front belong to
            earlier scales, which all queries see.
        lengths: tokens per scale of the queries.

    Returns:
        ``[B, L, H * C]``.
    """
    out = []
    # From the last scale to the first, so that each view is cut from the next larger one: the
    # gradient of a view is padded to that one's size only, not to the whole sequence's.
    for rows in reversed(q_BHLC.split(list(lengths), dim=2)):
        part = F.scaled_dot_product_attention(rows, k_BHLC, v_BHLC, scale=1.0)
        out.append(part.transpose(1, 2))
        before = k_BHLC.shape[2] - rows.shape[2]
        k_BHLC, v_BHLC = k_BHLC[:, :, :before], v_BHLC[:, :, :before]
    return torch.cat(out[::-1], dim=1).flatten(2)


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
        self,
        x_BLD: Tensor,
        rope: tuple[Tensor, Tensor],
        lengths: Sequence[int],
        cache: tuple[Tensor, Tensor, int] | None,
    ) -> Tensor:
        q, k, v = self.mat_qkv(x_BLD).chunk(3, dim=-1)
        q, k, v = (
            t.unflatten(-1, (self.heads, -1)).transpose(1, 2)
            for t in (q + self.q_bias.to(q.dtype), k, v + self.v_bias.to(v.dtype))
        )
        scale = self.scale_mul_1H11.float().clamp_max(MAX_LOG_SCALE).exp()
        q = rotate(F.normalize(q.float(), dim=-1, eps=1e-12) * scale, *rope).to(v.dtype)
        k = rotate(F.normalize(k.float(), dim=-1, eps=1e-12), *rope).to(v.dtype)
        if cache is not None:
            keys, values, start = cache
            end = start + x_BLD.shape[1]
            keys[:, :, start:end], values[:, :, start:end] = k, v
            k, v = keys[:, :, :end], values[:, :, :end]
        return self.proj(attend_by_scale(q, k, v, lengths))  # type: ignore[no-any-return]


class CrossAttention(nn.Module):
    """Plain attention of visual tokens over the prompt's memory rows."""

    def __init__(self, width: int, heads: int) -> None:
        super().__init__()
        self.heads = heads
        self.mat_q = nn.Linear(width, width)
        self.mat_kv = nn.Linear(width, 2 * width, bias=False)
        self.v_bias = nn.Parameter(torch.zeros(width))
        self.proj = nn.Linear(width, width)

    def forward(self, x_BLD: Tensor, memory_BTD: Tensor, mask_BT: Tensor) -> Tensor:
        k, v = self.mat_kv(memory_BTD).chunk(2, dim=-1)
        q, k, v = (
            t.unflatten(-1, (self.heads, -1)).transpose(1, 2)
            for t in (self.mat_q(x_BLD), k, v + self.v_bias.to(v.dtype))
        )
        out = F.scaled_dot_product_attention(q, k, v, attn_mask=mask_BT[:, None, None])
        return self.proj(out.transpose(1, 2).flatten(2))  # type: ignore[no-any-return]
