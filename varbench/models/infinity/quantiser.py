"""Multi-scale binary spherical quantisation: from bits to codes, and what the transformer reads.

A token map of bits b at scale s stands for the code (2 b - 1) / sqrt(d) per position. Codes of
all scales, resized to the last grid, add up to the decoder's input. Codes and next inputs are
resized trilinearly (for images: bilinearly, no antialias), as in upstream after its fix of January
2025.
"""

from __future__ import annotations

from dataclasses import dataclass

import torch.nn.functional as F
from torch import Tensor

from varbench.models.common.sampling import CodeSum
from varbench.models.protocol import Schedule


def codes_from_bits(bits: Tensor) -> Tensor:
    """Bits ``[B, d, h, w]`` in {0, 1} -> codes of unit length per position, float32."""
    codes: Tensor = (2.0 * bits.float() - 1.0) / bits.shape[1] ** 0.5
    return codes


def resize(x: Tensor, size: tuple[int, int]) -> Tensor:
    """``[B, d, h, w]`` -> ``[B, d, *size]``, bilinear, align_corners off; identity if equal."""
    if x.shape[-2:] == size:
        return x
    return F.interpolate(x, size=size, mode="bilinear", align_corners=False)


@dataclass(frozen=True)
class Layout:
    """Positions of the transformer's tokens on the tokenizer's grids."""

    schedule: Schedule
    patchified: bool = False

    @property
    def grids(self) -> tuple[tuple[int, int], ...]:
        """The tokenizer's grids (twice the transformer's with patchify)."""
        fold = 2 if self.patchified else 1
        return tuple((fold * h, fold * w) for h, w in self.schedule.scales)

    def to_tokens(self, map_Bdhw: Tensor) -> Tensor:
        """Map of one scale -> rows ``[B, l, bits per token]``.

        With patchify a token's bit is number c * 4 + dy * 2 + dx for bit c at (dy, dx).
        """
        folded = F.pixel_unshuffle(map_Bdhw, 2) if self.patchified else map_Bdhw
        return folded.flatten(2).transpose(1, 2)

    def to_map(self, tokens_Bld: Tensor, scale: int) -> Tensor:
        """Rows ``[B, l, bits per token]`` of one scale -> map ``[B, d, h, w]``."""
        h, w = self.schedule.scales[scale]
        maps = tokens_Bld.transpose(1, 2).reshape(len(tokens_Bld), -1, h, w).float()
        return F.pixel_shuffle(maps, 2) if self.patchified else maps


class BinaryCodeSum(CodeSum):
    """The sum of the codes of bits.

    Args:
        layout: how rows lie on the tokenizer's grids.
        bits: per token.
    """

    def __init__(self, layout: Layout, bits: int) -> None:
        super().__init__(layout.schedule, bits)
        self.layout = layout

    def codes(self, tokens: Tensor, scale: int) -> Tensor:
        return resize(codes_from_bits(self.layout.to_map(tokens, scale)), self.layout.grids[-1])

    def read(self, total: Tensor, scale: int) -> Tensor:
        return self.layout.to_tokens(resize(total, self.layout.grids[scale]))
