"""2-D rotary positions of Switti: every scale is stretched over the square [0, 128] x [0, 128].

The first half of a head's channels turns with the column, the second half with the row; adjacent
channels form a pair. The corners of all scales coincide, whatever their number of tokens.
"""

from __future__ import annotations

import torch
from torch import Tensor

from varbench.models.protocol import Schedule

BASE = 10_000.0
EXTENT = 128.0


def rope_tables(schedule: Schedule, head_width: int) -> tuple[Tensor, Tensor]:
    """Cosines and sines ``[L, head_width / 2]`` float32 for all tokens of a schedule.

    Raises:
        ValueError: a grid is not square; the original defines no other.
    """
    exponents = torch.arange(0, head_width, 4, dtype=torch.float32) / head_width
    angles = []
    for height, width in schedule.scales:
        if height != width:
            raise ValueError(f"Switti has square grids only, got {height} x {width}")
        frequencies = 1.0 / BASE**exponents * (EXTENT / max(1, width - 1))
        side = torch.arange(width, dtype=torch.float32)[:, None] * frequencies
        x = side[None].expand(height, width, -1)
        y = side[:, None].expand(height, width, -1)
        angles.append(torch.cat([x, y], dim=-1).flatten(0, 1))
    every = torch.cat(angles)
    return every.cos(), every.sin()
