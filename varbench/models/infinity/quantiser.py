"""Multi-scale binary spherical quantisation: latents <-> bits, and what the transformer reads.

A token map of bits b at scale s stands for the code (2 b - 1) / sqrt(d) per position. Codes of
all scales, resized to the last grid, add up to the decoder's input. Residuals shrink with
adaptive average pooling (area), codes and next inputs are resized trilinearly (for images:
bilinearly, no antialias), as in upstream after its fix of January 2025.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import torch
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
        return (self.schedule.doubled() if self.patchified else self.schedule).scales

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


@dataclass(frozen=True)
class Quantised:
    """A quantised latent: its bits, and the inputs and codes that follow from them.

    Attributes:
        targets: ``[B, L, bits per token]`` uint8, ground-truth bits.
        inputs: ``[B, L - 1, bits per token]`` float32, inputs of scales 1.. .
        codes: ``[B, d, H, W]`` summed codes.
    """

    targets: Tensor
    inputs: Tensor
    codes: Tensor


def quantise(
    latent_BdHW: Tensor, layout: Layout, flips: Sequence[Tensor | None] | None = None
) -> Quantised:
    """Quantise a latent scale by scale, optionally corrupting what is accumulated.

    With ``flips`` this builds bitwise self-correction (Infinity, section 3.3): the target of a
    scale comes from the residual of the corrupted sum, so later scales learn to repair.

    Args:
        latent_BdHW: ``[B, d, H, W]`` float32 on the last grid.
        layout: the schedule.
        flips: per scale a bool map ``[B, d, h, w]`` of bits to flip before accumulating, or None.
    """
    latent, grids = latent_BdHW.float(), layout.grids
    sums = BinaryCodeSum(layout, latent.shape[1] * (4 if layout.patchified else 1))
    targets, inputs = [], []
    for scale, grid in enumerate(grids):
        residual = latent if sums.total is None else latent - sums.total
        if tuple(residual.shape[-2:]) != grid:
            residual = F.adaptive_avg_pool2d(residual, grid)
        bits = residual > 0
        targets.append(layout.to_tokens(bits))
        flip = flips[scale] if flips is not None and scale < len(flips) else None
        sums.add(targets[-1] if flip is None else layout.to_tokens(bits ^ flip))
        if scale + 1 < len(grids):
            inputs.append(sums.next_input())
    assert sums.total is not None
    return Quantised(torch.cat(targets, 1).to(torch.uint8), torch.cat(inputs, 1), sums.total)


def draw_flips(
    batch: int, bits: int, layout: Layout, strength: float, generator: torch.Generator
) -> list[Tensor]:
    """Random flips per scale: one rate for the batch, uniform in {0, .01, .., strength}."""
    flips = []
    for h, w in layout.grids:
        rate = torch.randint(0, round(100 * strength) + 1, (), generator=generator) / 100
        flips.append(torch.rand(batch, bits, h, w, generator=generator) < rate)
    return flips
