"""The BSQ-VAE's convolutional half: images <-> latents (no attention, FLUX/LDM layout).

Parameter names are the plain FLUX ones; ``checkpoint.py`` also reads upstream's other scheme.
"""

from __future__ import annotations

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from varbench.models.common.autoencoder import ResBlock, Upsample, group_norm, silu
from varbench.models.infinity.config import TokenizerConfig


class Downsample(nn.Module):
    """Halve height and width; one zero row and column on the right and bottom only."""

    def __init__(self, channels: int) -> None:
        super().__init__()
        self.conv = nn.Conv2d(channels, channels, 3, stride=2)

    def forward(self, x: Tensor) -> Tensor:
        return self.conv(F.pad(x, (0, 1, 0, 1)))  # type: ignore[no-any-return]


class Mid(nn.Module):
    """Two residual blocks at the lowest resolution."""

    def __init__(self, channels: int) -> None:
        super().__init__()
        self.block_1 = ResBlock(channels, channels)
        self.block_2 = ResBlock(channels, channels)

    def forward(self, x: Tensor) -> Tensor:
        return self.block_2(self.block_1(x))  # type: ignore[no-any-return]


class Level(nn.Module):
    """The residual blocks of one resolution and the change to the next."""

    def __init__(self, inp: int, out: int, blocks: int, resample: str | None) -> None:
        super().__init__()
        self.block = nn.ModuleList(ResBlock(inp if i == 0 else out, out) for i in range(blocks))
        if resample == "down":
            self.downsample = Downsample(out)
        elif resample == "up":
            self.upsample = Upsample(out)
        self.resample = resample

    def forward(self, x: Tensor) -> Tensor:
        for block in self.block:
            x = block(x)
        if self.resample == "down":
            x = self.downsample(x)
        elif self.resample == "up":
            x = self.upsample(x)
        return x


class Encoder(nn.Module):
    """Images ``[B, 3, H, W]`` in [-1, 1] -> latents ``[B, d, H / f, W / f]``."""

    def __init__(self, config: TokenizerConfig) -> None:
        super().__init__()
        widths = [config.base_width * m for m in config.width_multipliers]
        self.fold = config.pixel_unshuffle
        self.conv_in = nn.Conv2d(3 * self.fold**2, config.base_width, 3, padding=1)
        self.down = nn.ModuleList(
            Level(inp, out, config.encoder_blocks, "down" if out_index < len(widths) - 1 else None)
            for out_index, (inp, out) in enumerate(
                zip([config.base_width, *widths], widths, strict=False)
            )
        )
        self.mid = Mid(widths[-1])
        self.norm_out = group_norm(widths[-1])
        self.conv_out = nn.Conv2d(widths[-1], config.bits, 3, padding=1)

    def forward(self, x: Tensor) -> Tensor:
        x = self.conv_in(F.pixel_unshuffle(x, self.fold))
        for level in self.down:
            x = level(x)
        return self.conv_out(silu(self.norm_out(self.mid(x))))  # type: ignore[no-any-return]


class Decoder(nn.Module):
    """Summed codes ``[B, d, H / f, W / f]`` -> images ``[B, 3, H, W]``, not yet clamped."""

    def __init__(self, config: TokenizerConfig) -> None:
        super().__init__()
        widths = [config.base_width * m for m in config.width_multipliers]
        self.fold = config.pixel_unshuffle
        self.conv_in = nn.Conv2d(config.bits, widths[-1], 3, padding=1)
        self.mid = Mid(widths[-1])
        # Module index = resolution level, as upstream counts; run from the last to the first.
        self.up = nn.ModuleList(
            Level(inp, out, config.encoder_blocks + 1, "up" if index > 0 else None)
            for index, (inp, out) in enumerate(zip([*widths[1:], widths[-1]], widths, strict=True))
        )
        self.norm_out = group_norm(widths[0])
        self.conv_out = nn.Conv2d(widths[0], 3 * self.fold**2, 3, padding=1)

    def forward(self, codes: Tensor) -> Tensor:
        x = self.mid(self.conv_in(codes))
        for level in reversed(self.up):
            x = level(x)
        return F.pixel_shuffle(self.conv_out(silu(self.norm_out(x))), self.fold)


class BSQVAE(nn.Module):
    """Encoder and decoder; the quantiser between them (``quantiser.py``) has no parameters."""

    def __init__(self, config: TokenizerConfig) -> None:
        super().__init__()
        self.config = config
        self.encoder = Encoder(config)
        self.decoder = Decoder(config)

    def encode(self, images: Tensor) -> Tensor:
        """``[B, 3, H, W]`` in [-1, 1] -> latents ``[B, d, h, w]``."""
        return self.encoder(images)  # type: ignore[no-any-return]

    def decode(self, codes: Tensor) -> Tensor:
        """Summed codes ``[B, d, h, w]`` -> ``[B, 3, H, W]`` clamped to [-1, 1]."""
        codes = codes.contiguous(memory_format=torch.channels_last)  # and so are all maps
        return self.decoder(codes).clamp(-1, 1)  # type: ignore[no-any-return]
