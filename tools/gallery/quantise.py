"""Images to bits: the quantiser's direction that only training on images needs.

Residuals shrink with adaptive average pooling (area), as in upstream after its fix of January
2025; ``varbench/models/infinity/quantiser.py`` has the way back.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import torch
import torch.nn.functional as F
from torch import Tensor

from varbench.models.infinity.quantiser import BinaryCodeSum, Layout


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
