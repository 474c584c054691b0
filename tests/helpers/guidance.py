"""A guidance that keeps what was sampled from."""

from __future__ import annotations

from collections.abc import Sequence

import torch
from torch import Tensor

from varbench.models.protocol import Condition, Guidance, NextScaleModel


class Traced:
    """Another guidance, against negative prompts or at a temperature per scale where given.

    Attributes:
        kept: the guided logits ``[B, l, D, V]`` of every scale, over the temperature.
    """

    def __init__(
        self,
        inner: Guidance,
        negative: Condition | None = None,
        temperatures: Sequence[float] | None = None,
    ) -> None:
        self.inner = inner
        self.negative = negative
        self.temperatures = temperatures
        self.kept: list[Tensor] = []

    @property
    def logits(self) -> Tensor:
        """Of all scales, ``[B, L, D, V]``."""
        return torch.cat(self.kept, dim=1)

    def branches(self, model: NextScaleModel, condition: Condition) -> list[Condition]:
        branches = self.inner.branches(model, condition)
        return branches if self.negative is None else [condition, self.negative]

    def combine(self, scale: int, logits: list[Tensor]) -> Tensor:
        temperature = self.temperatures[scale] if self.temperatures else 1.0
        self.kept.append(self.inner.combine(scale, logits) / temperature)
        return self.kept[-1]
