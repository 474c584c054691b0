"""Self-attention over scales without a mask: one call per scale over the keys that it may see.

Shapes in names: B images, H heads, L visual tokens, C head width.
"""

from __future__ import annotations

from collections.abc import Sequence

import torch
import torch.nn.functional as F
from torch import Tensor


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
