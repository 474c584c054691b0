"""The Infinity transformer: text conditioning, block-causal teacher forcing, cached sampling.

Names of parameters are upstream's, except that blocks are numbered through (``blocks.7``) where
upstream groups them in chunks; ``checkpoint.py`` translates. Shapes in names: B pictures,
L visual tokens, T text rows, C text width, D width, H heads, d bits per token.

Casts to float32 mark what stays in it when the blocks compute in bfloat16 (``Execution``); in
float32 they do nothing.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import torch
import torch.nn.functional as F
from torch import Tensor, nn
from torch.utils.checkpoint import checkpoint

from varbench.models.base import Schedule
from varbench.models.execution import Execution
from varbench.models.infinity.attention import CrossAttention, SelfAttention, TextPool
from varbench.models.infinity.config import TransformerConfig
from varbench.models.infinity.rope import rope_tables

EPS = 1e-6


@dataclass
class TextState:
    """Text as the blocks read it: memory rows, their mask, pooled vector and AdaLN vectors."""

    memory_BTD: Tensor
    mask_BT: Tensor
    pooled_BD: Tensor
    ada_B16D: Tensor


@dataclass
class Cache:
    """Keys and values of the tokens so far, preallocated: ``[B, H, L, D / H]`` per block."""

    keys: list[Tensor]
    values: list[Tensor]
    used: int = 0


class FeedForward(nn.Module):
    """Two linear layers with tanh-GELU."""

    def __init__(self, width: int, hidden: int) -> None:
        super().__init__()
        self.fc1 = nn.Linear(width, hidden)
        self.fc2 = nn.Linear(hidden, width)

    def forward(self, x: Tensor) -> Tensor:
        return self.fc2(F.gelu(self.fc1(x), approximate="tanh"))  # type: ignore[no-any-return]


class Block(nn.Module):
    """Self-attention, cross-attention, FFN; AdaLN vectors are shared by all blocks."""

    def __init__(self, config: TransformerConfig) -> None:
        super().__init__()
        width = config.width
        self.width = width
        self.ada_gss = nn.Parameter(torch.randn(1, 1, 6, width) / width**0.5)
        self.sa = SelfAttention(width, config.heads)
        self.ca = CrossAttention(width, config.heads)
        self.ca_norm = nn.LayerNorm(width, eps=EPS)
        self.ffn = FeedForward(width, config.ffn_width)

    def forward(
        self,
        x_BLD: Tensor,
        text: TextState,
        rope: tuple[Tensor, Tensor],
        lengths: Sequence[int],
        cache: tuple[Tensor, Tensor, int] | None = None,
    ) -> Tensor:
        gate1, gate2, scale1, scale2, shift1, shift2 = (self.ada_gss + text.ada_B16D).unbind(2)
        plain = F.layer_norm(x_BLD, (self.width,), eps=EPS)
        x_BLD = x_BLD + gate1 * self.sa(plain * (1 + scale1) + shift1, rope, lengths, cache)
        norm = (self.ca_norm.weight.float(), self.ca_norm.bias.float())
        plain = F.layer_norm(x_BLD, (self.width,), *norm, eps=EPS)
        x_BLD = x_BLD + self.ca(plain, text.memory_BTD, text.mask_BT)
        plain = F.layer_norm(x_BLD, (self.width,), eps=EPS)
        return x_BLD + gate2 * self.ffn(plain * (1 + scale2) + shift2)  # type: ignore[no-any-return]


class HeadNorm(nn.Module):
    """AdaLN before the head: scale first, shift second."""

    def __init__(self, width: int) -> None:
        super().__init__()
        self.width = width
        self.ada_lin = nn.Sequential(nn.SiLU(), nn.Linear(width, 2 * width))

    def forward(self, x_BLD: Tensor, pooled_BD: Tensor) -> Tensor:
        scale, shift = self.ada_lin(pooled_BD).unsqueeze(1).chunk(2, dim=-1)
        return F.layer_norm(x_BLD, (self.width,), eps=EPS) * (1 + scale) + shift  # type: ignore[no-any-return]


class InfinityTransformer(nn.Module):
    """Text rows and visual inputs -> two logits per bit; ``execution`` says how."""

    def __init__(self, config: TransformerConfig) -> None:
        super().__init__()
        self.config = config
        self.execution = Execution()
        width, text_width = config.width, config.text_width
        self.cfg_uncond = nn.Parameter(
            torch.randn(config.text_maxlen, text_width) / text_width**0.5
        )
        self.pos_start = nn.Parameter(torch.randn(1, 1, width) * 0.02)
        self.text_norm = nn.RMSNorm(text_width, eps=EPS)
        self.text_proj_for_sos = nn.ModuleDict({"ca": TextPool(config)})
        self.text_proj_for_ca = nn.Sequential(
            nn.Linear(text_width, width), nn.GELU("tanh"), nn.Linear(width, width)
        )
        self.lvl_embed = nn.Embedding(config.max_levels, width)
        self.word_embed = nn.Linear(config.bits, width)
        self.shared_ada_lin = nn.Sequential(nn.SiLU(), nn.Linear(width, 6 * width))
        self.blocks = nn.ModuleList(Block(config) for _ in range(config.depth))
        self.head_nm = HeadNorm(width)
        self.head = nn.Linear(width, 2 * config.bits)
        self._layouts: dict[Schedule, tuple[Tensor, Tensor, Tensor]] = {}

    def read_text(self, rows_BTC: Tensor, mask_BT: Tensor) -> TextState:
        """Prompt rows ``[B, T, C]`` (encoder output or null rows) and their validity mask."""
        rows = self.text_norm(rows_BTC)
        pooled = self.text_proj_for_sos["ca"](rows, mask_BT)
        ada = self.shared_ada_lin(pooled).unflatten(-1, (1, 6, -1))
        return TextState(self.text_proj_for_ca(rows), mask_BT, pooled, ada)

    def layout(self, schedule: Schedule) -> tuple[Tensor, Tensor, Tensor]:
        """Per token: level ``[L]``, RoPE cosines and sines ``[L, D / H / 2]``."""
        device = self.pos_start.device
        found = self._layouts.get(schedule)
        if found is None or found[0].device != device:
            levels = torch.cat(
                [torch.full((n,), level) for level, n in enumerate(schedule.lengths)]
            )
            cos, sin = rope_tables(schedule, self.config.width // self.config.heads)
            found = (levels.to(device), cos.to(device), sin.to(device))
            self._layouts[schedule] = found
        return found

    def forward(self, inputs_BLd: Tensor, text: TextState, schedule: Schedule) -> Tensor:
        """Teacher forcing: inputs ``[B, L - 1, d]`` of scales 1.. -> logits ``[B, L, d, 2]``."""
        levels, cos, sin = self.layout(schedule)
        start = text.pooled_BD[:, None] + self.pos_start
        x = torch.cat([start, self.word_embed(inputs_BLd)], dim=1) + self.lvl_embed(levels)
        recompute = self.execution.checkpointing and torch.is_grad_enabled()
        for block in self.blocks:
            job = (block, x, text, (cos, sin), schedule.lengths)
            if recompute:  # nothing in a block is random
                x = checkpoint(self._run, *job, use_reentrant=False, preserve_rng_state=False)
            else:
                x = self._run(*job)
        return self.read_out(x, text)

    def _run(
        self,
        block: nn.Module,
        x_BLD: Tensor,
        text: TextState,
        rope: tuple[Tensor, Tensor],
        lengths: Sequence[int],
        cache: tuple[Tensor, Tensor, int] | None = None,
    ) -> Tensor:
        if not self.execution.bf16:
            return block(x_BLD, text, rope, lengths, cache)  # type: ignore[no-any-return]
        # Per block and without autocast's cache, so that float32 weights are never held twice.
        with torch.autocast(x_BLD.device.type, torch.bfloat16, cache_enabled=False):
            return block(x_BLD, text, rope, lengths, cache)  # type: ignore[no-any-return]

    def step(
        self,
        inputs_Bld: Tensor | None,
        text: TextState,
        schedule: Schedule,
        level: int,
        cache: Cache,
    ) -> Tensor:
        """Logits ``[B, l, d, 2]`` of one scale from its inputs (None at the first) and cache."""
        _, cos, sin = self.layout(schedule)
        x = text.pooled_BD[:, None] + self.pos_start
        if inputs_Bld is not None:
            x = self.word_embed(inputs_Bld)
        x = x + self.lvl_embed.weight[level]
        rows = slice(cache.used, cache.used + x.shape[1])
        rope = (cos[rows], sin[rows])
        for block, keys, values in zip(self.blocks, cache.keys, cache.values, strict=True):
            x = self._run(block, x, text, rope, (x.shape[1],), (keys, values, cache.used))
        cache.used = rows.stop
        return self.read_out(x, text)

    def new_cache(self, batch: int, schedule: Schedule) -> Cache:
        """Empty key and value buffers for one sampling run."""
        config = self.config
        shape = (batch, config.heads, schedule.total, config.width // config.heads)
        dtype = torch.bfloat16 if self.execution.bf16 else self.pos_start.dtype

        def new() -> list[Tensor]:
            return [self.pos_start.new_empty(shape, dtype=dtype) for _ in range(config.depth)]

        return Cache(new(), new())

    def read_out(self, x_BLD: Tensor, text: TextState) -> Tensor:
        """Hidden states -> logits ``[B, L, d, 2]``; channel 2c says bit c = 0, 2c + 1 bit c = 1."""
        logits = self.head(self.head_nm(x_BLD, text.pooled_BD))
        return logits.unflatten(-1, (-1, 2))  # type: ignore[no-any-return]
