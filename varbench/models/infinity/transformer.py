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
from itertools import groupby
from typing import Any, cast

import torch
import torch.nn.functional as F
from torch import Tensor, nn
from torch.utils.checkpoint import checkpoint

from varbench.models.common.execution import Execution, autocast, compiled
from varbench.models.common.layers import EPS, HeadNorm
from varbench.models.common.transformer import Rope, ScaleTransformer
from varbench.models.infinity.attention import (
    CrossAttention,
    Past,
    SelfAttention,
    TextPool,
    TextState,
    rope_tables,
)
from varbench.models.infinity.config import TransformerConfig
from varbench.models.protocol import Schedule


def added(x: Tensor, update: Tensor, in_place: bool) -> Tensor:
    """The sum, perhaps in the memory of ``x``."""
    return x.add_(update) if in_place else x + update


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
        rope: Rope,
        lengths: Sequence[int],
        past: Past | None,
        start: int,
    ) -> Tensor:
        """All tokens at once, or while sampling those of one scale, in place."""
        sampling = past is not None
        ada = past.ada if past else self.modulation(text)
        gate1, gate2, scale1, scale2, shift1, shift2 = ada
        job = (rope, lengths, past, start)
        x_BLD = added(
            x_BLD, gate1 * self.sa(self._modulated(x_BLD, scale1, shift1, sampling), *job), sampling
        )
        x_BLD = added(x_BLD, self.ca(self._ca_input(x_BLD), text, past), sampling)
        return added(
            x_BLD, gate2 * self.ffn(self._modulated(x_BLD, scale2, shift2, sampling)), sampling
        )

    def modulation(self, text: TextState) -> tuple[Tensor, ...]:
        """AdaLN vectors ``[B, 1, D]``: two gates, two factors, two shifts."""
        gate1, gate2, scale1, scale2, *shifts = (self.ada_gss + text.ada_B16D).unbind(2)
        return gate1, gate2, 1 + scale1, 1 + scale2, *shifts

    def _modulated(self, x_BLD: Tensor, scale: Tensor, shift: Tensor, in_place: bool) -> Tensor:
        normed = F.layer_norm(x_BLD, (self.width,), eps=EPS)
        return normed.mul_(scale).add_(shift) if in_place else normed * scale + shift

    def _ca_input(self, x_BLD: Tensor) -> Tensor:
        norm = (self.ca_norm.weight.float(), self.ca_norm.bias.float())
        return F.layer_norm(x_BLD, (self.width,), *norm, eps=EPS)


class InfinityTransformer(ScaleTransformer):
    """Text rows and visual inputs -> two logits per bit; computed as ``execution`` has it."""

    config: TransformerConfig

    def __init__(self, config: TransformerConfig) -> None:
        super().__init__(config, 2, rope_tables)
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

    def read_text(self, rows_BTC: Tensor, mask_BT: Tensor) -> TextState:
        """Prompt rows ``[B, T, C]`` (encoder output or null rows) and their validity mask."""
        rows = self.text_norm(rows_BTC)
        pooled = self.text_proj_for_sos["ca"](rows, mask_BT)
        ada = self.shared_ada_lin(pooled).unflatten(-1, (1, 6, -1))
        return TextState(self.text_proj_for_ca(rows), mask_BT, pooled, ada)

    def run(self, block: nn.Module, *job: Any) -> Tensor:
        if self.execution.checkpointing and torch.is_grad_enabled():  # nothing in a block is random
            return checkpoint(
                self._computed, block, *job, use_reentrant=False, preserve_rng_state=False
            )
        return self._computed(block, *job)

    def _computed(self, block: nn.Module, *job: Any) -> Tensor:
        start = job[-1]  # a single token would be compiled for itself alone
        with self._precision():
            if self.execution.compile and start:
                return compiled(Block.forward)(block, *job)  # type: ignore[no-any-return]
            return block(*job)  # type: ignore[no-any-return]

    def _precision(self) -> AbstractContextManager[None]:
        return autocast(self.pos_start.device, self.execution.bf16)

    def new_cache(self, text: TextState, schedule: Schedule) -> list[Past]:
        """Tensors that the blocks keep while a batch is sampled; those of visual tokens are empty.

        Each prompt is read alone, without padding, so that its numbers do not depend on others.
        """
        config, lengths = self.config, text.mask_BT.sum(1).tolist()
        shape = (len(lengths), config.heads, schedule.total, config.width // config.heads)
        dtype = torch.bfloat16 if self.execution.bf16 else self.pos_start.dtype
        blocks = []
        prompts = [m[:, :n] for m, n in zip(text.memory_BTD.split(1), lengths, strict=True)]
        for block in cast("Iterable[Block]", self.blocks):
            with self._precision():
                read = [block.ca.read(memory_1TD) for memory_1TD in prompts]
            grouped = []
            for _, group in groupby(read, key=lambda kv: kv[0].shape[2]):
                k, v = zip(*group, strict=True)
                grouped.append((torch.cat(k), torch.cat(v)))
            keys, values = (self.pos_start.new_empty(shape, dtype=dtype) for _ in range(2))
            blocks.append(Past(keys, values, grouped, block.modulation(text)))
        return blocks
