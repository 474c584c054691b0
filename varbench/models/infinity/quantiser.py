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

from varbench.models.common.sampling import teacher_forcing_inputs
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


def patchify(x: Tensor) -> Tensor:
    """``[B, d, 2h, 2w]`` -> ``[B, 4d, h, w]``; channel = c * 4 + dy * 2 + dx."""
    return F.pixel_unshuffle(x, 2)


def unpatchify(x: Tensor) -> Tensor:
    """Inverse of :func:`patchify`."""
    return F.pixel_shuffle(x, 2)


@dataclass(frozen=True)
class Layout:
    """Positions of the transformer's tokens on the tokenizer's grids."""

    schedule: Schedule
    patchified: bool = False

    @property
    def grids(self) -> tuple[tuple[int, int], ...]:
        """The tokenizer's grids (twice the transformer's with patchify)."""
        return (self.schedule.doubled() if self.patchified else self.schedule).scales

    def to_tokens(self, maps: Sequence[Tensor]) -> Tensor:
        """Per-scale maps ``[B, d, h, w]`` -> rows ``[B, sum of tokens, bits per token]``."""
        folded = [patchify(m) if self.patchified else m for m in maps]
        return torch.cat([m.flatten(2).transpose(1, 2) for m in folded], dim=1)

    def to_map(self, tokens_Bld: Tensor, scale: int) -> Tensor:
        """Rows ``[B, l, bits per token]`` of one scale -> map ``[B, d, h, w]``."""
        h, w = self.schedule.scales[scale]
        maps = tokens_Bld.transpose(1, 2).reshape(len(tokens_Bld), -1, h, w).float()
        return unpatchify(maps) if self.patchified else maps


class Accumulator:
    """The running sum of up-sampled codes while scales are added one by one."""

    def __init__(self, layout: Layout) -> None:
        self.layout = layout
        self.total: Tensor | None = None
        self.scale = 0

    def add(self, bits_Bdhw: Tensor) -> None:
        """Add one scale's bits ``[B, d, h, w]`` (tokenizer layout)."""
        up = resize(codes_from_bits(bits_Bdhw), self.layout.grids[-1])
        self.total = up if self.total is None else self.total + up
        self.scale += 1

    def next_input(self) -> Tensor:
        """Input of the transformer at the next scale, ``[B, d, h, w]``."""
        if self.total is None:
            raise ValueError("the first scale has no visual input")
        return resize(self.total, self.layout.grids[self.scale])


class TokenSum:
    """An :class:`Accumulator` of the transformer's rows: a family's ``CodeSum``.

    Args:
        layout: how rows lie on the tokenizer's grids.
        width: bits per token.
    """

    def __init__(self, layout: Layout, width: int) -> None:
        self.layout = layout
        self.width = width
        self._maps = Accumulator(layout)

    @property
    def total(self) -> Tensor | None:
        return self._maps.total

    def add(self, tokens: Tensor) -> None:
        self._maps.add(self.layout.to_map(tokens, self._maps.scale))

    def next_input(self) -> Tensor:
        return self.layout.to_tokens([self._maps.next_input()])


def inputs_from_tokens(tokens_BLd: Tensor, layout: Layout) -> tuple[Tensor, Tensor]:
    """Bits of all scales -> teacher-forcing inputs ``[B, L - 1, d]`` and summed codes."""
    sums = TokenSum(layout, tokens_BLd.shape[2])
    return teacher_forcing_inputs(tokens_BLd, sums, layout.schedule)


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
    sums, targets, inputs = Accumulator(layout), [], []
    grids = layout.grids
    latent = latent_BdHW.float()
    for scale, grid in enumerate(grids):
        residual = latent if sums.total is None else latent - sums.total
        if tuple(residual.shape[-2:]) != grid:
            residual = F.adaptive_avg_pool2d(residual, grid)
        bits = residual > 0
        targets.append(bits)
        flip = flips[scale] if flips is not None and scale < len(flips) else None
        sums.add(bits if flip is None else bits ^ flip)
        if scale + 1 < len(grids):
            inputs.append(sums.next_input())
    assert sums.total is not None
    return Quantised(
        layout.to_tokens(targets).to(torch.uint8), layout.to_tokens(inputs), sums.total
    )


def draw_flips(
    batch: int, bits: int, layout: Layout, strength: float, generator: torch.Generator
) -> list[Tensor]:
    """Random flips per scale: one rate for the batch, uniform in {0, .01, .., strength}."""
    flips = []
    for h, w in layout.grids:
        rate = torch.randint(0, round(100 * strength) + 1, (), generator=generator) / 100
        flips.append(torch.rand(batch, bits, h, w, generator=generator) < rate)
    return flips
