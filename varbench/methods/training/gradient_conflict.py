"""Do two losses agree? The cosine between the gradients of erasing and preserving, as they come.

Below 0 a step that helps one loss hurts the other (Yu et al., Gradient Surgery for Multi-Task
Learning, NeurIPS 2020). The training loop takes the terms' gradients one after the other anyway, so
the cosine costs no backward pass, only a place for the first term's gradient. With two terms the
optimiser sees the same bits: the sum of two numbers does not depend on their order.
"""

from __future__ import annotations

import math
from collections.abc import Mapping

import torch
from torch import Tensor, nn


class Conflict:
    """Compares the gradient of an iteration's first loss term with that of the later ones.

    With a step per term the later gradient is the last term's, after the first one's step.

    Args:
        parameters: what is trained.
        separate_steps: whether the optimiser steps after every term.
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
        """The cosine (-1 to 1) for the log, and the gradients as they would be without it.

        A parameter that a term does not touch has gradient 0 there; nothing is logged where all
        are 0.
        """
        product, ours, theirs = 0.0, 0.0, 0.0
        for name, p in self.parameters.items():
            one, two = self.first.get(name), p.grad
            ours += 0.0 if one is None else float(one.float().square().sum())
            theirs += 0.0 if two is None else float(two.float().square().sum())
            if one is not None and two is not None:
                product += float((one.float() * two.float()).sum())
            if one is not None and not self.separate_steps:
                p.grad = one if two is None else two.add_(one)
        self.first = {}
        return {"conflict": product / math.sqrt(ours * theirs)} if ours and theirs else {}
