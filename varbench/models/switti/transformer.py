"""The Switti transformer (Voronov et al. 2024, arXiv 2412.01819): logits over a codebook.

Two variants differ in self-attention alone. In Switti a token attends to its own scale
and learns of earlier scales only through its input, the sum of their codes; sampling needs no
key/value cache. In Switti AR it also attends to all earlier scales.

Text enters twice: rows of two CLIP encoders by cross-attention, and a pooled vector as
the start token and as the condition of AdaLN. Norms stand before and after every sub-layer.

Names of parameters are the original's. Shapes in names: B images, L visual tokens, T text
rows, C width, H heads.
"""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from varbench.models.common.layers import EPS, HeadNorm
from varbench.models.common.transformer import Rope, ScaleTransformer
from varbench.models.protocol import Schedule
from varbench.models.switti.attention import (
    BlockText,
    CrossAttention,
    Past,
    SelfAttention,
    rope_tables,
)
from varbench.models.switti.config import TransformerConfig


@dataclass(frozen=True)
class TextState:
    """Text as the transformer reads it, made once per prompt."""

    pooled: Tensor
    blocks: list[BlockText]


class FeedForward(nn.Module):
    """SwiGLU: a linear layer gated by the SiLU of another, then a third."""

    def __init__(self, width: int, hidden: int) -> None:
        super().__init__()
        self.up_proj = nn.Linear(width, hidden, bias=False)
        self.gate_proj = nn.Linear(width, hidden, bias=False)
        self.down_proj = nn.Linear(hidden, width, bias=False)

    def forward(self, x: Tensor) -> Tensor:
        return self.down_proj(F.silu(self.gate_proj(x)) * self.up_proj(x))  # type: ignore[no-any-return]


class Block(nn.Module):
    """Self-attention, cross-attention, FFN, each between two RMS norms; AdaLN on two of them."""

    def __init__(self, config: TransformerConfig) -> None:
        super().__init__()
        width = config.width
        self.attn = SelfAttention(width, config.heads, config.causal)
        self.cross_attn = CrossAttention(width, config.heads, config.text_width)
        self.ffn = FeedForward(width, config.ffn_width)
        self.self_attention_norm1 = nn.RMSNorm(width, eps=EPS)
        self.self_attention_norm2 = nn.RMSNorm(width, eps=EPS)
        self.cross_attention_norm1 = nn.RMSNorm(width, eps=EPS)
        self.cross_attention_norm2 = nn.RMSNorm(width, eps=EPS)
        self.ffn_norm1 = nn.RMSNorm(width, eps=EPS)
        self.ffn_norm2 = nn.RMSNorm(width, eps=EPS)
        self.attention_y_norm = nn.RMSNorm(config.text_width, eps=EPS)
        self.ada_lin = nn.Sequential(nn.SiLU(), nn.Linear(width, 6 * width))
        self.crop_cond_scales = nn.Parameter(torch.zeros(1, width))

    def read(
        self, rows_BTX: Tensor, mask_BT: Tensor, pooled_BC: Tensor, crop_C: Tensor
    ) -> BlockText:
        """The part of this block that depends on the text and not on visual tokens."""
        keys, values = self.cross_attn.read(self.attention_y_norm(rows_BTX))
        ada = self.ada_lin(pooled_BC + self.crop_cond_scales * crop_C)
        return BlockText(keys, values, mask_BT, ada.unflatten(-1, (1, 6, -1)))

    def forward(
        self,
        x_BLC: Tensor,
        text: BlockText,
        rope: Rope,
        lengths: Sequence[int],
        past: Past | None,
        start: int,
    ) -> Tensor:
        gate1, gate2, scale1, scale2, shift1, shift2 = text.ada_B16C.unbind(2)
        h = self.self_attention_norm1(x_BLC) * (1 + scale1) + shift1
        x_BLC = x_BLC + gate1 * self.self_attention_norm2(self.attn(h, rope, lengths, past, start))
        h = self.cross_attn(self.cross_attention_norm1(x_BLC), text)
        x_BLC = x_BLC + self.cross_attention_norm2(h)
        h = self.ffn_norm1(x_BLC) * (1 + scale2) + shift2
        return x_BLC + gate2 * self.ffn_norm2(self.ffn(h))  # type: ignore[no-any-return]


class CropEmbedding(nn.Module):
    """Random Fourier features ``[C]`` of a crop; the frequencies are not trained.

    Height, width and offsets stand for a whole square image, at every resolution.
    """

    weight: Tensor

    def __init__(self, width: int) -> None:
        super().__init__()
        self.register_buffer("weight", torch.randn(width // 8))

    def forward(self) -> Tensor:
        crop = self.weight.new_tensor([512.0, 512.0, 0.0, 0.0])
        phases = crop[:, None] * self.weight * 2 * math.pi
        return torch.cat([phases.sin(), phases.cos()], dim=-1).flatten()


class SwittiTransformer(ScaleTransformer):
    """Text and visual inputs -> one softmax over the codebook per token."""

    config: TransformerConfig

    def __init__(self, config: TransformerConfig) -> None:
        super().__init__(config, config.vocabulary, rope_tables)
        width = config.width
        self.word_embed = nn.Linear(config.code_width, width)
        self.text_pooler = nn.Linear(config.pooled_width, width)
        self.pos_start = nn.Parameter(torch.randn(1, 1, width) / (3 * width) ** 0.5)
        self.lvl_embed = nn.Embedding(config.levels, width)
        self.blocks = nn.ModuleList(Block(config) for _ in range(config.depth))
        self.crop_embed = CropEmbedding(width)
        self.crop_proj = nn.Linear(width, width)
        self.head_nm = HeadNorm(width)
        self.head = nn.Linear(width, config.vocabulary)

    def read_text(self, rows_BTX: Tensor, mask_BT: Tensor, pooled_BP: Tensor) -> TextState:
        """Text rows ``[B, T, X]``, which of them are real, and the pooled vector ``[B, P]``."""
        pooled = self.text_pooler(pooled_BP)
        crop = self.crop_proj(self.crop_embed())
        blocks = [block.read(rows_BTX, mask_BT, pooled, crop) for block in self.blocks]  # type: ignore[operator]
        return TextState(pooled, blocks)

    def positions(self, schedule: Schedule) -> tuple[Tensor, Tensor, Tensor]:
        """See :class:`ScaleTransformer`.

        Raises:
            ValueError: the schedule has another number of scales, or does not start with 1 x 1.
        """
        levels = self.config.levels
        if len(schedule.scales) != levels or schedule.lengths[0] != 1:
            raise ValueError(f"this model has {levels} scales from 1x1 on, got {schedule.scales}")
        return super().positions(schedule)

    def new_cache(self, text: TextState, schedule: Schedule) -> Sequence[Past | None]:
        """Empty key and value buffers per block; None where scales do not attend to each other."""
        config = self.config
        if not config.causal:
            return [None] * config.depth
        shape = (len(text.pooled), config.heads, schedule.total, config.width // config.heads)
        new = self.pos_start.new_empty
        return [(new(shape), new(shape)) for _ in range(config.depth)]
