"""Modulated normalisation before the head, as both families have it."""

from __future__ import annotations

import torch.nn.functional as F
from torch import Tensor, nn

EPS = 1e-6


class HeadNorm(nn.Module):
    """AdaLN before the head: scale first, shift second. Shapes in names: C width."""

    def __init__(self, width: int) -> None:
        super().__init__()
        self.ada_lin = nn.Sequential(nn.SiLU(), nn.Linear(width, 2 * width))

    def forward(self, x_BLC: Tensor, pooled_BC: Tensor) -> Tensor:
        scale, shift = self.ada_lin(pooled_BC)[:, None].chunk(2, dim=-1)
        return F.layer_norm(x_BLC, x_BLC.shape[-1:], eps=EPS) * (1 + scale) + shift  # type: ignore[no-any-return]
