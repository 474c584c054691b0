"""Switti's tokenizer, the part that generation needs: tokens -> summed codes -> images.

A residual multi-scale VQ-VAE (VAR, Tian et al. 2024). The codes of a scale are resized to the
last grid (bicubic), half of them is replaced by a convolution of them (phi), and all scales add
up. What the transformer reads at the next scale is that sum, resized to its grid (area).

Left out: encoder and nearest-code search, which only training on images would use.
"""

from __future__ import annotations

import numpy as np
import torch.nn.functional as F
from torch import Tensor, nn

from varbench.models.common.autoencoder import Decoder
from varbench.models.common.sampling import CodeSum
from varbench.models.protocol import Schedule
from varbench.models.switti.config import PHIS, TokenizerConfig


def phi_of(scale: int, scales: int) -> int:
    """Index of the phi that a scale uses: its tick is nearest to scale / (scales - 1).

    With 10 scales two of them lie halfway between ticks, so the arithmetic (double precision,
    this order) is part of the definition.
    """
    ticks = np.linspace(1 / 3 / PHIS, 1 - 1 / 3 / PHIS, PHIS)
    return int(np.argmin(np.abs(ticks - scale / max(1, scales - 1))))


class Phi(nn.Conv2d):
    """Half the input plus half its convolution."""

    def __init__(self, width: int) -> None:
        super().__init__(width, width, 3, padding=1)

    def forward(self, x: Tensor) -> Tensor:
        return 0.5 * x + 0.5 * super().forward(x)


class Codebook(nn.Module):
    """Codes and the phis that smooth them (``quantize`` in the original)."""

    def __init__(self, config: TokenizerConfig) -> None:
        super().__init__()
        self.embedding = nn.Embedding(config.vocabulary, config.code_width)
        phis = nn.ModuleList(Phi(config.code_width) for _ in range(PHIS))
        self.quant_resi = nn.ModuleDict({"qresi_ls": phis})

    def spread(self, tokens_Bl1: Tensor, schedule: Schedule, scale: int) -> Tensor:
        """The contribution ``[B, c, H, W]`` of one scale's tokens to the sum of codes."""
        codes = self.embedding(tokens_Bl1[..., 0].long()).transpose(1, 2)
        codes = codes.unflatten(2, schedule.scales[scale])
        if scale + 1 < len(schedule.scales):
            codes = F.interpolate(codes, size=schedule.scales[-1], mode="bicubic")
        phi = phi_of(scale, len(schedule.scales))
        return self.quant_resi["qresi_ls"][phi](codes)  # type: ignore[index,no-any-return]


class CodebookSum(CodeSum):
    """The sum of a codebook's codes."""

    def __init__(self, codebook: Codebook, schedule: Schedule) -> None:
        super().__init__(schedule, codebook.embedding.embedding_dim)
        self.codebook = codebook

    def codes(self, tokens: Tensor, scale: int) -> Tensor:
        return self.codebook.spread(tokens, self.schedule, scale)

    def read(self, total: Tensor, scale: int) -> Tensor:
        size = self.schedule.scales[scale]
        return F.interpolate(total, size=size, mode="area").flatten(2).transpose(1, 2)


class VQVAE(nn.Module):
    """Codebook and decoder."""

    def __init__(self, config: TokenizerConfig) -> None:
        super().__init__()
        self.config = config
        self.quantize = Codebook(config)
        self.post_quant_conv = nn.Conv2d(config.code_width, config.code_width, 3, padding=1)
        widths = [config.base_width * m for m in config.width_multipliers]
        self.decoder = Decoder(config.code_width, widths, config.blocks, attention=True)

    def decode(self, codes: Tensor) -> Tensor:
        """Summed codes ``[B, c, H, W]`` -> ``[B, 3, f H, f W]`` clamped to [-1, 1]."""
        return self.decoder(self.post_quant_conv(codes)).clamp(-1, 1)  # type: ignore[no-any-return]
