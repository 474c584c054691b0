"""Guidance that every model shares: classifier-free guidance."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

from torch import Tensor

from varbench.models.protocol import Condition, NextScaleModel


@dataclass(frozen=True)
class ClassifierFreeGuidance:
    """logits = w * conditional + (1 - w) * null (Ho & Salimans 2022), per scale.

    Attributes:
        weights: one weight for all scales, or one per scale. 1 means no guidance.
    """

    weights: float | Sequence[float]

    def branches(self, model: NextScaleModel, condition: Condition) -> list[Condition]:
        if not isinstance(self.weights, Sequence) and self.weights == 1:
            return [condition]
        return [condition, model.null(condition)]

    def combine(self, scale: int, logits: list[Tensor]) -> Tensor:
        if len(logits) == 1:
            return logits[0]
        weight = self.weights[scale] if isinstance(self.weights, Sequence) else self.weights
        return weight * logits[0] + (1 - weight) * logits[1]
