"""The Infinity transformer: text conditioning, block-causal teacher forcing, cached sampling.

Names of parameters are upstream's, except that blocks are numbered through (``blocks.7``) where
upstream groups them in chunks; ``checkpoint.py`` translates. Shapes in names: B images,
L visual tokens, T text rows, C text width, D width, H heads, d bits per token.

Casts to float32 mark what stays in it when the blocks compute in bfloat16 (``Execution``); in
float32 they do nothing.
"""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from contextlib import AbstractContextManager
from dataclasses import dataclass
from itertools import groupby
from typing import Any, cast

import torch
import torch.nn.functional as F
from torch import Tensor, nn
from torch.utils.checkpoint import checkpoint

from varbench.models.common.execution import Execution, autocast, compiled
from varbench.models.common.layers import EPS, HeadNorm
from varbench.models.infinity.attention import (
    CrossAttention,
    Past,
    SelfAttention,
    TextPool,
    rope_tables,
)
from varbench.models.infinity.config import TransformerConfig
from varbench.models.protocol import Schedule


@dataclass
class TextState:
    """Text as the blocks read it: memory rows, their mask, pooled vector and AdaLN vectors."""

    memory_BTD: Tensor
    mask_BT: Tensor
    pooled_BD: Tensor
    ada_B16D: Tensor


class FeedForward(nn.Module):
    """Two linear layers with tanh-GELU."""

    def __init__(self, width: int, hidden: int) -> None:
        super().__init__()
        self.fc1 = nn.Linear(width, hidden)
        self.fc2 = nn.Linear(hidden, width)

    def forward(self, x: Tensor) -> Tensor:
        hidden = self.fc1(x)
        if torch.is_grad_enabled():
            hidden = F.gelu(hidden, approximate="tanh")
        else:  # in place, which `F.gelu` does not offer: the largest tensor of a step
            torch.ops.aten.gelu_(hidden, approximate="tanh")
        return self.fc2(hidden)  # type: ignore[no-any-return]


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
    ) -> Tensor:
        """Teacher forcing: all tokens at once."""
        gate1, gate2, scale1, scale2, shift1, shift2 = self.modulation(text)
        x_BLD = x_BLD + gate1 * self.sa(self._plain(x_BLD) * scale1 + shift1, rope, lengths)
        x_BLD = x_BLD + self.ca(self._ca_input(x_BLD), text.memory_BTD, text.mask_BT)
        return x_BLD + gate2 * self.ffn(self._plain(x_BLD) * scale2 + shift2)  # type: ignore[no-any-return]

    def step(self, x_BLD: Tensor, past: Past, rope: tuple[Tensor, Tensor], start: int) -> Tensor:
        """Sampling: the scale that begins at token ``start``, in place where that is possible."""
        gate1, gate2, scale1, scale2, shift1, shift2 = past.ada
        x_BLD += gate1 * self.sa.step(
            self._plain(x_BLD).mul_(scale1).add_(shift1), rope, past, start
        )
        x_BLD += self.ca.step(self._ca_input(x_BLD), past)
        x_BLD += gate2 * self.ffn(self._plain(x_BLD).mul_(scale2).add_(shift2))
        return x_BLD

    def modulation(self, text: TextState) -> tuple[Tensor, ...]:
        """AdaLN vectors ``[B, 1, D]``: two gates, two factors, two shifts."""
        gate1, gate2, scale1, scale2, *shifts = (self.ada_gss + text.ada_B16D).unbind(2)
        return gate1, gate2, 1 + scale1, 1 + scale2, *shifts

    def _plain(self, x_BLD: Tensor) -> Tensor:
        return F.layer_norm(x_BLD, (self.width,), eps=EPS)

    def _ca_input(self, x_BLD: Tensor) -> Tensor:
        norm = (self.ca_norm.weight.float(), self.ca_norm.bias.float())
        return F.layer_norm(x_BLD, (self.width,), *norm, eps=EPS)


class InfinityTransformer(nn.Module):
    """Text rows and visual inputs -> two logits per bit; computed as ``execution`` has it."""

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
        self._positions: dict[tuple[Schedule, torch.device], tuple[Tensor, Tensor, Tensor]] = {}

    def read_text(self, rows_BTC: Tensor, mask_BT: Tensor) -> TextState:
        """Prompt rows ``[B, T, C]`` (encoder output or null rows) and their validity mask."""
        rows = self.text_norm(rows_BTC)
        pooled = self.text_proj_for_sos["ca"](rows, mask_BT)
        ada = self.shared_ada_lin(pooled).unflatten(-1, (1, 6, -1))
        return TextState(self.text_proj_for_ca(rows), mask_BT, pooled, ada)

    def positions(self, schedule: Schedule) -> tuple[Tensor, Tensor, Tensor]:
        """Per token: level ``[L]``, RoPE cosines and sines ``[L, D / H / 2]``; made once."""
        device = self.pos_start.device
        if (schedule, device) not in self._positions:
            levels = torch.cat([torch.full((n,), k) for k, n in enumerate(schedule.lengths)])
            tables = (levels, *rope_tables(schedule, self.config.width // self.config.heads))
            levels, cos, sin = (table.to(device) for table in tables)
            self._positions[schedule, device] = levels, cos, sin
        return self._positions[schedule, device]

    def forward(
        self, inputs_BLd: Tensor, text: TextState, schedule: Schedule, scales: int | None = None
    ) -> Tensor:
        """Teacher forcing: inputs ``[B, L - 1, d]`` of scales 1.. -> logits ``[B, L, d, 2]``.

        ``schedule`` gives the tokens' positions; only its first ``scales`` are computed.
        """
        lengths = schedule.lengths[:scales]
        levels, cos, sin = (t[: sum(lengths)] for t in self.positions(schedule))
        start = text.pooled_BD[:, None] + self.pos_start
        x = torch.cat([start, self.word_embed(inputs_BLd)], dim=1) + self.lvl_embed(levels)
        recompute = self.execution.checkpointing and torch.is_grad_enabled()
        for block in self.blocks:
            job = (block, x, text, (cos, sin), lengths)
            if recompute:  # nothing in a block is random
                x = checkpoint(self._run, *job, use_reentrant=False, preserve_rng_state=False)
            else:
                x = self._run(*job)
        return self.read_out(x, text)

    def _run(self, block: nn.Module, *job: Any) -> Tensor:
        with self._precision():
            return block(*job)  # type: ignore[no-any-return]

    def _precision(self) -> AbstractContextManager[None]:
        return autocast(self.pos_start.device, self.execution.bf16)

    def step(
        self,
        inputs_Bld: Tensor | None,
        text: TextState,
        schedule: Schedule,
        level: int,
        cache: Sequence[Past],
    ) -> Tensor:
        """Logits ``[B, l, d, 2]`` of one scale from its inputs (None at the first) and cache."""
        _, cos, sin = self.positions(schedule)
        rows = list(schedule.slices())[level]
        x = text.pooled_BD[:, None] + self.pos_start
        if inputs_Bld is not None:
            x = self.word_embed(inputs_Bld)
        x = x + self.lvl_embed.weight[level]
        rope = (cos[rows], sin[rows])
        # A single token would be compiled for itself alone.
        run = compiled(Block.step) if self.execution.compile and level else Block.step
        for block, past in zip(self._blocks, cache, strict=True):
            with self._precision():
                x = run(block, x, past, rope, rows.start)
        return self.read_out(x, text)

    def new_cache(self, text: TextState, schedule: Schedule) -> list[Past]:
        """Tensors that the blocks keep while a batch is sampled; those of visual tokens are empty.

        Each prompt is read alone, without padding, so that its numbers do not depend on others.
        """
        config, lengths = self.config, text.mask_BT.sum(1).tolist()
        shape = (len(lengths), config.heads, schedule.total, config.width // config.heads)
        dtype = torch.bfloat16 if self.execution.bf16 else self.pos_start.dtype
        blocks = []
        prompts = [m[:, :n] for m, n in zip(text.memory_BTD.split(1), lengths, strict=True)]
        for block in self._blocks:
            with self._precision():
                read = [block.ca.read(memory_1TD) for memory_1TD in prompts]
            grouped = []
            for _, group in groupby(read, key=lambda kv: kv[0].shape[2]):
                k, v = zip(*group, strict=True)
                grouped.append((torch.cat(k), torch.cat(v)))
            keys, values = (self.pos_start.new_empty(shape, dtype=dtype) for _ in range(2))
            blocks.append(Past(keys, values, grouped, block.modulation(text)))
        return blocks

    @property
    def _blocks(self) -> Iterable[Block]:
        return cast("Iterable[Block]", self.blocks)

    def read_out(self, x_BLD: Tensor, text: TextState) -> Tensor:
        """Hidden states -> logits ``[B, L, d, 2]``; channel 2c is for bit c = 0, 2c + 1 for 1."""
        logits = self.head(self.head_nm(x_BLD, text.pooled_BD))
        return logits.unflatten(-1, (-1, 2))  # type: ignore[no-any-return]
