"""The frame of all families' transformers: inputs, levels, positions and head around the blocks.

Shapes in names: B images, L visual tokens, d channels of an input, C width, H heads, D symbols per
token, V values per symbol.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable
from itertools import repeat
from typing import Any

import torch
from torch import Tensor, nn

from varbench.models.protocol import Schedule

Rope = tuple[Tensor, Tensor]
"""Cosines and sines ``[L, C / H / 2]`` float32 of tokens."""


class ScaleTransformer(nn.Module):
    """Text and visual inputs -> logits of all scales at once, or of one scale after the other.

    A family makes the layers below, in its own order. The text as it reads it has ``pooled``
    ``[B, C]``, and ``blocks``, what each block reads. A block is called with ``x`` ``[B, L, C]``,
    that text, the rotary tables, the tokens of each scale in ``x``, what it keeps while sampling
    (else None), and the number of tokens before ``x``.

    Args:
        config: sizes.
        values: per symbol (V).
        rope_tables: the family's rotary tables of a schedule, by width of a head.
    """

    pos_start: nn.Parameter
    word_embed: nn.Module
    lvl_embed: nn.Embedding
    blocks: nn.ModuleList
    head_nm: nn.Module
    head: nn.Module

    def __init__(
        self, config: Any, values: int, rope_tables: Callable[[Schedule, int], Rope]
    ) -> None:
        super().__init__()
        self.config = config
        self.values = values
        self.rope_tables = rope_tables
        self._positions: dict[tuple[Schedule, torch.device], tuple[Tensor, Tensor, Tensor]] = {}

    def positions(self, schedule: Schedule) -> tuple[Tensor, Tensor, Tensor]:
        """Per token: level ``[L]``, RoPE cosines and sines ``[L, C / H / 2]``; made once."""
        device = self.pos_start.device
        if (schedule, device) not in self._positions:
            levels = torch.cat([torch.full((n,), k) for k, n in enumerate(schedule.lengths)])
            tables = (levels, *self.rope_tables(schedule, self.config.width // self.config.heads))
            levels, cos, sin = (table.to(device) for table in tables)
            self._positions[schedule, device] = levels, cos, sin
        return self._positions[schedule, device]

    def forward(
        self,
        inputs_BLd: Tensor | None,
        text: Any,
        schedule: Schedule,
        scales: int | None = None,
        first: int = 0,
        cache: Iterable[Any] | None = None,
    ) -> Tensor:
        """Logits ``[B, L, D, V]`` of consecutive scales.

        Args:
            inputs_BLd: of these scales, but for the very first, whose input is the text.
            text: as the family reads it.
            schedule: positions of all tokens.
            scales: end of the scales to compute, None for all.
            first: number of the first of them.
            cache: while sampling scale by scale, what each block keeps, None for nothing.
        """
        lengths, before = schedule.lengths[first:scales], sum(schedule.lengths[:first])
        rows = slice(before, before + sum(lengths))
        levels, cos, sin = (t[rows] for t in self.positions(schedule))
        x = text.pooled[:, None] + self.pos_start
        if first:
            x = self.word_embed(inputs_BLd)
        elif inputs_BLd is not None:
            x = torch.cat([x, self.word_embed(inputs_BLd)], dim=1)
        x = x + self.lvl_embed(levels)
        for block, read, past in zip(self.blocks, text.blocks, cache or repeat(None), strict=False):
            x = self.run(block, x, read, (cos, sin), lengths, past, before)
        return self.read_out(x, text)

    def run(self, block: nn.Module, *job: Any) -> Tensor:
        """The output of a block; a family may compute it otherwise."""
        return block(*job)  # type: ignore[no-any-return]

    def read_out(self, x_BLC: Tensor, text: Any) -> Tensor:
        """Hidden states -> logits ``[B, L, D, V]``, the values of a symbol side by side."""
        logits = self.head(self.head_nm(x_BLC, text.pooled))
        return logits.unflatten(-1, (-1, self.values))  # type: ignore[no-any-return]
