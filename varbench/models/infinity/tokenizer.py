"""The BSQ-VAE's convolutional half: images <-> latents (no attention, FLUX/LDM layout).

Parameter names are the plain FLUX ones; ``checkpoint.py`` also reads upstream's other scheme.
"""

from __future__ import annotations

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from varbench.models.common.autoencoder import Decoder, Level, group_norm, middle, silu
from varbench.models.infinity.config import TokenizerConfig


class Encoder(nn.Module):
    """Images ``[B, 3, H, W]`` in [-1, 1] -> latents ``[B, d, H / f, W / f]``."""

    def __init__(self, config: TokenizerConfig) -> None:
        super().__init__()
        widths = [config.base_width * m for m in config.width_multipliers]
        self.fold = config.pixel_unshuffle
        self.conv_in = nn.Conv2d(3 * self.fold**2, config.base_width, 3, padding=1)
        self.down = nn.ModuleList(
            Level(inp, out, config.encoder_blocks, "down" if out_index < len(widths) - 1 else "")
            for out_index, (inp, out) in enumerate(
                zip([config.base_width, *widths], widths, strict=False)
            )
        )
        self.mid = middle(widths[-1])
        self.norm_out = group_norm(widths[-1])
        self.conv_out = nn.Conv2d(widths[-1], config.bits, 3, padding=1)

    def forward(self, x: Tensor) -> Tensor:
        x = self.conv_in(F.pixel_unshuffle(x, self.fold))
        for level in self.down:
            x = level(x)
        return self.conv_out(silu(self.norm_out(self.mid(x))))  # type: ignore[no-any-return]


class BSQVAE(nn.Module):
    """Encoder and decoder; the quantiser between them (``quantiser.py``) has no parameters."""

    def __init__(self, config: TokenizerConfig) -> None:
        super().__init__()
        self.config = config
        self.encoder = Encoder(config)
        widths = [config.base_width * m for m in config.width_multipliers]
        self.decoder = Decoder(
            config.bits, widths, config.encoder_blocks + 1, fold=config.pixel_unshuffle
        )

    def encode(self, images: Tensor) -> Tensor:
        """``[B, 3, H, W]`` in [-1, 1] -> latents ``[B, d, h, w]``."""
        return self.encoder(images)  # type: ignore[no-any-return]

    def decode(self, codes: Tensor) -> Tensor:
        """Summed codes ``[B, d, h, w]`` -> ``[B, 3, H, W]`` clamped to [-1, 1]."""
        codes = codes.contiguous(memory_format=torch.channels_last)  # and so are all maps
        return self.decoder(codes).clamp(-1, 1)  # type: ignore[no-any-return]
