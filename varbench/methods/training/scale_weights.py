"""Weights of the scales in a loss: ``sum_k w_k mean(values of scale k)``, ``sum_k w_k = 1``.

Fine scales have most of the tokens (at 1024 px the last one 39 %, the first four together 0.5 %),
so a plain mean over tokens trains texture and hardly sees where composition is decided.
"""

from __future__ import annotations

import math
from dataclasses import dataclass

import torch
from torch import Tensor

from varbench.errors import check_choice, check_least
from varbench.models.protocol import Schedule

SCHEMES = ("token", "side", "uniform", "first_m")


@dataclass(frozen=True)
class ScaleWeights:
    """Weights of the scales.

    Attributes:
        scheme: ``token``: equal weight per token, so that a scale counts by its area; ``side``: one
            over the side of the grid per token, so that a scale counts by its side (Infinity's
            pre-training); ``uniform``: equal weight per scale; ``first_m``: equal weight for the
            first ``m`` scales, none for the others.
        m: see ``first_m``; all scales of a shorter schedule count.
    """

    scheme: str = "uniform"
    m: int = 1

    def __post_init__(self) -> None:
        check_choice("scheme", self.scheme, SCHEMES)
        check_least(1, m=self.m)

    def of(self, schedule: Schedule) -> list[float]:
        """One weight per scale, coarse to fine; they add up to 1."""
        areas = schedule.lengths
        weights = {
            "token": [float(area) for area in areas],
            "side": [math.sqrt(area) for area in areas],
            "uniform": [1.0] * len(areas),
            "first_m": [float(k < self.m) for k in range(len(areas))],
        }[self.scheme]
        return [w / sum(weights) for w in weights]

    def mean(self, values_BLD: Tensor, schedule: Schedule) -> Tensor:
        """The weighted mean (a scalar) of one value per symbol, images counting alike.

        Args:
            values_BLD: over the tokens of all scales.
            schedule: whose grids the tokens fill.
        """
        pairs = zip(self.of(schedule), schedule.slices(), strict=True)
        return torch.stack([w * values_BLD[:, rows].mean() for w, rows in pairs if w]).sum()
