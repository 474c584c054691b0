"""Layers of all families: self-attention over scales, rotary positions, the head's norm.

Shapes in names: B images, H heads, L visual tokens, C width (in heads: head width).
"""

from __future__ import annotations

from collections.abc import Sequence

import torch
import torch.nn.functional as F
from torch import Tensor, nn

EPS = 1e-6
"""Added to the variance in all norms."""


def split_heads(x_BLC: Tensor, heads: int) -> Tensor:
    """``[B, L, H C]`` -> ``[B, H, L, C]``."""
    return x_BLC.unflatten(-1, (heads, -1)).transpose(1, 2)  # type: ignore[no-any-return]


def attend_by_scale(
    q_BHLC: Tensor,
    k_BHLC: Tensor,
    v_BHLC: Tensor,
    lengths: Sequence[int],
    *,
    causal: bool = True,
    scale: float | None = 1.0,
) -> Tensor:
    """Every scale attends to its own keys and, if causal, to those of all earlier scales.

    No mask: one call per scale over the keys that it may see.

    Args:
        q_BHLC: queries of consecutive scales.
        k_BHLC, v_BHLC: keys and values of the same tokens; more of them in front belong to
            earlier scales.
        lengths: tokens per scale of the queries.
        causal: whether a scale sees the earlier ones.
        scale: factor on the logits; 1 where the queries are already scaled, None for 1 / sqrt(C).

    Returns:
        ``[B, L, H * C]``.
    """
    out = []
    # From the last scale to the first, so that each view is cut from the next larger one: the
    # gradient of a view is padded to that one's size only, not to the whole sequence's.
    for rows in reversed(q_BHLC.split(list(lengths), dim=2)):
        before = k_BHLC.shape[2] - rows.shape[2]
        first = 0 if causal else before
        part = F.scaled_dot_product_attention(
            rows, k_BHLC[:, :, first:], v_BHLC[:, :, first:], scale=scale
        )
        out.append(part.transpose(1, 2))
        k_BHLC, v_BHLC = k_BHLC[:, :, :before], v_BHLC[:, :, :before]
    return (torch.cat(out[::-1], dim=1) if len(out) > 1 else out[0]).flatten(2)


# Not compiled: a compiler would copy a whole buffer to write into it.
@torch.compiler.disable  # type: ignore[untyped-decorator]
def remembered(
    buffers: tuple[Tensor, Tensor], k_BHLC: Tensor, v_BHLC: Tensor, start: int
) -> tuple[Tensor, Tensor]:
    """Keys and values of all scales so far; the new ones begin at token ``start``."""
    end = start + k_BHLC.shape[2]
    keys, values = buffers
    keys[:, :, start:end], values[:, :, start:end] = k_BHLC, v_BHLC
    return keys[:, :, :end], values[:, :, :end]


def rotate(x_BHLC: Tensor, cos_LR: Tensor, sin_LR: Tensor) -> Tensor:
    """Turn adjacent channel pairs of ``[B, H, L, C]`` by a family's angles ``[L, C / 2]``."""
    if torch.is_grad_enabled() or torch.compiler.is_compiling():
        a, b = x_BHLC.unflatten(-1, (-1, 2)).unbind(-1)
        turned = (a * cos_LR - b * sin_LR, a * sin_LR + b * cos_LR)
        return torch.stack(turned, dim=-1).flatten(-2)
    # Ten times as fast, but compilers know no complex numbers, and a gradient would keep a table
    # of its own for every call.
    pairs = torch.view_as_complex(x_BHLC.unflatten(-1, (-1, 2)))
    return torch.view_as_real(pairs * torch.complex(cos_LR, sin_LR)).flatten(-2)


class HeadNorm(nn.Module):
    """AdaLN before the head: scale first, shift second."""

    def __init__(self, width: int) -> None:
        super().__init__()
        self.ada_lin = nn.Sequential(nn.SiLU(), nn.Linear(width, 2 * width))

    def forward(self, x_BLC: Tensor, pooled_BC: Tensor) -> Tensor:
        scale, shift = self.ada_lin(pooled_BC)[:, None].chunk(2, dim=-1)
        return F.layer_norm(x_BLC, x_BLC.shape[-1:], eps=EPS) * (1 + scale) + shift  # type: ignore[no-any-return]
