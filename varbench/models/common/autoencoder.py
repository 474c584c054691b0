"""Convolutional blocks of the autoencoders that all families' tokenizers have (FLUX/LDM layout).

Parameter names are the plain FLUX ones.
"""

from __future__ import annotations

from collections.abc import Sequence

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from varbench.models.common.layers import EPS


def group_norm(channels: int) -> nn.GroupNorm:
    """Normalisation in 32 groups, or in 24 where 32 does not divide the channels.

    Raises:
        ValueError: neither divides them.
    """
    groups = next((n for n in (32, 24) if channels % n == 0), None)
    if groups is None:
        raise ValueError(f"tokenizer widths must divide by 32 or 24, got {channels}")
    return nn.GroupNorm(groups, channels, eps=EPS)


def silu(x: Tensor) -> Tensor:
    """SiLU of a tensor without other users: in place unless a gradient needs it.

    At full image size new memory costs a CPU more time than the arithmetic.
    """
    return F.silu(x, inplace=not torch.is_grad_enabled())


class ResBlock(nn.Module):
    """norm, SiLU, conv, norm, SiLU, conv, plus the input."""

    def __init__(self, inp: int, out: int) -> None:
        super().__init__()
        self.norm1 = group_norm(inp)
        self.conv1 = nn.Conv2d(inp, out, 3, padding=1)
        self.norm2 = group_norm(out)
        self.conv2 = nn.Conv2d(out, out, 3, padding=1)
        self.nin_shortcut = nn.Conv2d(inp, out, 1) if inp != out else nn.Identity()

    def forward(self, x: Tensor) -> Tensor:
        h = self.conv1(silu(self.norm1(x)))
        h = self.conv2(silu(self.norm2(h)))
        if torch.is_grad_enabled():
            return self.nin_shortcut(x) + h  # type: ignore[no-any-return]
        return h.add_(self.nin_shortcut(x))  # type: ignore[no-any-return]


class Upsample(nn.Module):
    """Double height and width, nearest neighbour then convolution."""

    def __init__(self, channels: int) -> None:
        super().__init__()
        self.conv = nn.Conv2d(channels, channels, 3, padding=1)

    def forward(self, x: Tensor) -> Tensor:
        if torch.is_grad_enabled() or x[0].numel() < LARGE:
            return self.conv(F.interpolate(x, scale_factor=2.0, mode="nearest"))  # type: ignore[no-any-return]
        return doubled(x, self.conv.weight, self.conv.bias)


LARGE = 512 * 32 * 32
"""Numbers of an image's map from which on :func:`doubled` is faster (measured on a CPU)."""


def doubled(x: Tensor, weight: Tensor, bias: Tensor | None) -> Tensor:
    """3 x 3 convolution of a map whose pixels were doubled, in 4/9 of the multiplications.

    Two of three neighbours in a row are the same pixel, so each of the four parities of output
    positions is a 2 x 2 convolution of the small map, with weights that are sums.

    Args:
        x: ``[B, C, h, w]``.
        weight, bias: of the convolution, padding 1; ``[O, C, 3, 3]``.

    Returns:
        ``[B, O, 2 h, 2 w]``, channels last in memory.
    """
    batch, _, h, w = x.shape
    size = (batch, len(weight), 2 * h, 2 * w)
    out = torch.empty(size, dtype=x.dtype, device=x.device, memory_format=torch.channels_last)
    padded = F.pad(x, (1, 1, 1, 1))
    for i, rows in enumerate(_parities(weight, dim=2)):
        for j, both in enumerate(_parities(rows, dim=3)):
            part = padded[:, :, i : i + h + 1, j : j + w + 1]
            out[:, :, i::2, j::2] = F.conv2d(part, both, bias)
    return out


def _parities(weight: Tensor, dim: int) -> tuple[Tensor, Tensor]:
    """Three weights along a dimension -> two each for even and for odd output positions."""
    first, middle, last = weight.split(1, dim)
    return torch.cat([first, middle + last], dim), torch.cat([first + middle, last], dim)


class Downsample(nn.Module):
    """Halve height and width; one zero row and column on the right and bottom only."""

    def __init__(self, channels: int) -> None:
        super().__init__()
        self.conv = nn.Conv2d(channels, channels, 3, stride=2)

    def forward(self, x: Tensor) -> Tensor:
        return self.conv(F.pad(x, (0, 1, 0, 1)))  # type: ignore[no-any-return]


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


def middle(channels: int, attention: bool = False) -> nn.Sequential:
    """Two residual blocks at the lowest resolution, with attention between them or without."""
    blocks = nn.Sequential()
    blocks.add_module("block_1", ResBlock(channels, channels))
    if attention:
        blocks.add_module("attn_1", AttentionBlock(channels))
    blocks.add_module("block_2", ResBlock(channels, channels))
    return blocks


class Level(nn.Module):
    """The residual blocks of one resolution, with attention or without, and the change to the next.

    ``resample`` is ``up``, ``down`` or nothing.
    """

    def __init__(
        self, inp: int, out: int, blocks: int, resample: str = "", attention: bool = False
    ) -> None:
        super().__init__()
        self.block = nn.ModuleList(ResBlock(inp if i == 0 else out, out) for i in range(blocks))
        self.attn = nn.ModuleList(AttentionBlock(out) for _ in range(blocks if attention else 0))
        self.upsample = Upsample(out) if resample == "up" else nn.Identity()
        self.downsample = Downsample(out) if resample == "down" else nn.Identity()

    def forward(self, x: Tensor) -> Tensor:
        for number, block in enumerate(self.block):
            x = block(x)
            if len(self.attn):
                x = self.attn[number](x)
        return self.downsample(self.upsample(x))  # type: ignore[no-any-return]


class Decoder(nn.Module):
    """Summed codes ``[B, c, H / f, W / f]`` -> images ``[B, 3, H, W]``, not yet clamped.

    Args:
        code_width: channels of the codes (c).
        widths: channels of each level, finest first.
        blocks: residual blocks per level.
        fold: n x n pixels that the last convolution has in its channels.
        attention: whether the lowest resolution has attention.
    """

    def __init__(
        self,
        code_width: int,
        widths: Sequence[int],
        blocks: int,
        fold: int = 1,
        attention: bool = False,
    ) -> None:
        super().__init__()
        last = len(widths) - 1
        self.fold = fold
        self.conv_in = nn.Conv2d(code_width, widths[-1], 3, padding=1)
        self.mid = middle(widths[-1], attention)
        # Module index = resolution level, as upstream counts; run from the last to the first.
        self.up = nn.ModuleList(
            Level(inp, out, blocks, "up" if i else "", attention and i == last)
            for i, (inp, out) in enumerate(zip([*widths[1:], widths[-1]], widths, strict=True))
        )
        self.norm_out = group_norm(widths[0])
        self.conv_out = nn.Conv2d(widths[0], 3 * fold**2, 3, padding=1)

    def forward(self, codes: Tensor) -> Tensor:
        x = self.mid(self.conv_in(codes))
        for level in reversed(self.up):
            x = level(x)
        return F.pixel_shuffle(self.conv_out(silu(self.norm_out(x))), self.fold)
