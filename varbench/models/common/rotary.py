"""Rotary positions: turning pairs of channels. Each family has its own table of angles."""

from __future__ import annotations

import torch
from torch import Tensor


def rotate(x_BHLC: Tensor, cos_LR: Tensor, sin_LR: Tensor) -> Tensor:
    """Turn adjacent channel pairs of ``[B, H, L, C]`` by the angles ``[L, C / 2]``."""
    if torch.is_grad_enabled() or torch.compiler.is_compiling():
        a, b = x_BHLC.unflatten(-1, (-1, 2)).unbind(-1)
        turned = (a * cos_LR - b * sin_LR, a * sin_LR + b * cos_LR)
        return torch.stack(turned, dim=-1).flatten(-2)
    # Ten times as fast, but compilers know no complex numbers, and a gradient would keep a table
    # of its own for every call.
    pairs = torch.view_as_complex(x_BHLC.unflatten(-1, (-1, 2)))
    return torch.view_as_real(pairs * torch.complex(cos_LR, sin_LR)).flatten(-2)
