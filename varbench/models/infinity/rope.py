"""2-D rotary positions of Infinity (upstream's mode 2, the one all released models use).

Every scale is laid over the last grid (Hf, Wf) of its aspect ratio's 13-scale list: row i of a
grid of height h sits at integer position round(i * Hf / h). The first half of a head's channels
turns with the row, the second half with the column; adjacent channels form a pair.
"""

from __future__ import annotations

import torch
from torch import Tensor

from varbench.models.infinity.schedules import full_grid
from varbench.models.protocol import Schedule

BASE = 10_000.0


def positions(size: int, full: int) -> Tensor:
    """Integer positions ``[size]`` of a grid side on the full grid, halves rounded to even.

    Computed in float32 as upstream does, because a double would round some halves differently.
    """
    return torch.round(torch.arange(size, dtype=torch.float32) * (full / size)).long()


def rope_tables(schedule: Schedule, head_width: int) -> tuple[Tensor, Tensor]:
    """Cosines and sines ``[L, head_width / 2]`` float32 for all tokens of a schedule."""
    quarter = head_width // 4
    exponents = torch.arange(quarter, dtype=torch.float32) * 2 / (head_width // 2)
    inverse = 1.0 / (BASE**exponents)
    full_h, full_w = full_grid(schedule)
    rows = []
    for h, w in schedule.scales:
        y = positions(h, full_h).float()[:, None, None] * inverse
        x = positions(w, full_w).float()[None, :, None] * inverse
        angles = torch.cat([y.expand(h, w, quarter), x.expand(h, w, quarter)], dim=-1)
        rows.append(angles.reshape(h * w, 2 * quarter))
    angles = torch.cat(rows)
    return angles.cos(), angles.sin()
