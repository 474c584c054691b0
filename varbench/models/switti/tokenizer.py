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

from varbench.models.common.autoencoder import ResBlock, Upsample, group_norm
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


class AttentionBlock(nn.Module):
    """One-head attention over all positions, plus the input."""

    def __init__(self, channels: int) -> None:
        super().__init__()
        self.norm = group_norm(channels)
        self.qkv = nn.Conv2d(channels, 3 * channels, 1)
        self.proj_out = nn.Conv2d(channels, channels, 1)

    def forward(self, x: Tensor) -> Tensor:
        q, k, v = self.qkv(self.norm(x)).flatten(2).transpose(1, 2).chunk(3, dim=-1)
        out = F.scaled_dot_product_attention(q, k, v)
        return x + self.proj_out(out.transpose(1, 2).unflatten(2, x.shape[2:]))  # type: ignore[no-any-return]


class Level(nn.Module):
    """Residual blocks of one resolution, with attention at the lowest, then a doubling."""

    def __init__(self, inp: int, out: int, blocks: int, attention: bool, double: bool) -> None:
        super().__init__()
        self.block = nn.ModuleList(ResBlock(inp if i == 0 else out, out) for i in range(blocks))
        self.attn = nn.ModuleList(AttentionBlock(out) for _ in range(blocks if attention else 0))
        self.upsample = Upsample(out) if double else nn.Identity()

    def forward(self, x: Tensor) -> Tensor:
        for number, block in enumerate(self.block):
            x = block(x)
            if len(self.attn):
                x = self.attn[number](x)
        return self.upsample(x)  # type: ignore[no-any-return]


class Decoder(nn.Module):
    """Summed codes ``[B, c, H, W]`` -> images ``[B, 3, f H, f W]``, not yet clamped."""

    def __init__(self, config: TokenizerConfig) -> None:
        super().__init__()
        widths = [config.base_width * m for m in config.width_multipliers]
        last = len(widths) - 1
        self.conv_in = nn.Conv2d(config.code_width, widths[-1], 3, padding=1)
        self.mid = nn.ModuleDict(
            {
                "block_1": ResBlock(widths[-1], widths[-1]),
                "attn_1": AttentionBlock(widths[-1]),
                "block_2": ResBlock(widths[-1], widths[-1]),
            }
        )
        # Module index = resolution level, finest first; run from the last to the first.
        self.up = nn.ModuleList(
            Level(inp, out, config.blocks, attention=index == last, double=index > 0)
            for index, (inp, out) in enumerate(zip([*widths[1:], widths[-1]], widths, strict=True))
        )
        self.norm_out = group_norm(widths[0])
        self.conv_out = nn.Conv2d(widths[0], 3, 3, padding=1)

    def forward(self, x: Tensor) -> Tensor:
        x = self.conv_in(x)
        for part in self.mid.values():
            x = part(x)
        for level in reversed(self.up):
            x = level(x)
        return self.conv_out(F.silu(self.norm_out(x)))  # type: ignore[no-any-return]


class VQVAE(nn.Module):
    """Codebook and decoder."""

    def __init__(self, config: TokenizerConfig) -> None:
        super().__init__()
        self.config = config
        self.quantize = Codebook(config)
        self.post_quant_conv = nn.Conv2d(config.code_width, config.code_width, 3, padding=1)
        self.decoder = Decoder(config)

    def decode(self, codes: Tensor) -> Tensor:
        """Summed codes ``[B, c, H, W]`` -> ``[B, 3, f H, f W]`` clamped to [-1, 1]."""
        return self.decoder(self.post_quant_conv(codes)).clamp(-1, 1)  # type: ignore[no-any-return]
