"""Cosine between the gradients of erasing and preserving, logged at every step.

Below 0 a step that helps one loss hurts the other (Yu et al., Gradient Surgery for Multi-Task
Learning, NeurIPS 2020). The loop computes the terms' gradients one after the other anyway, so the
cosine costs no backward pass, only room for the first term's gradient. With two terms the
optimiser sees the same bits: the sum of two numbers does not depend on their order.
"""

from __future__ import annotations

import math
from collections.abc import Mapping

import torch
from torch import Tensor, nn


class GradientConflict:
    """Compares the gradient of an iteration's first loss term with that of the later ones.

    Args:
        parameters: what is trained.
        separate_steps: the optimiser steps after every term; the later gradient is then the last
            term's, after the first one's step.
    """

    def __init__(self, parameters: Mapping[str, nn.Parameter], separate_steps: bool) -> None:
        self.parameters = parameters
        self.separate_steps = separate_steps
        self.first: dict[str, Tensor] = {}

    def after_first(self) -> None:
        """Set the first term's gradient aside; call before clipping."""
        for name, p in self.parameters.items():
            if p.grad is not None:
                self.first[name] = p.grad.clone() if self.separate_steps else p.grad
                p.grad = p.grad if self.separate_steps else None

    @torch.no_grad()
    def after_last(self) -> dict[str, float]:
        """The cosine (-1 to 1) for the log; the gradients are as they would be without it.

        A parameter that a term does not touch has gradient 0 there; nothing is logged where all
        are 0.
        """
        product, first_square, later_square = 0.0, 0.0, 0.0
        for name, p in self.parameters.items():
            first, later = self.first.get(name), p.grad
            product += _dot(first, later)
            first_square += _dot(first, first)
            later_square += _dot(later, later)
            if first is not None and not self.separate_steps:
                p.grad = first if later is None else later.add_(first)
        norms = math.sqrt(first_square * later_square)
        return {"conflict": product / norms} if norms else {}


def _dot(a: Tensor | None, b: Tensor | None) -> float:
    return 0.0 if a is None or b is None else float((a.float() * b.float()).sum())
