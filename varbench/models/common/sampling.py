"""Sampling: the loop over scales, guidance, and from logits to symbols by keyed numbers."""

from __future__ import annotations

from abc import ABC, abstractmethod
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import Any

import torch
from torch import Tensor

from varbench.models.common.keyed_random import uniforms
from varbench.models.protocol import (
    Condition,
    Guidance,
    NextScaleModel,
    Rollout,
    Sampling,
    Schedule,
)


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


class CodeSum(ABC):
    """The running sum of codes ``[B, c, H, W]`` on the last grid, scale after scale.

    A family says what the tokens of a scale add to it and how its transformer reads it.

    Args:
        schedule: the transformer's grids.
        width: channels of :meth:`next_input`.
    """

    def __init__(self, schedule: Schedule, width: int) -> None:
        self.schedule = schedule
        self.width = width
        self.scale = 0
        self.total: Tensor | None = None

    @abstractmethod
    def codes(self, tokens: Tensor, scale: int) -> Tensor:
        """The part ``[B, c, H, W]`` that the tokens ``[B, l, D]`` of a scale add to the sum."""

    @abstractmethod
    def read(self, total: Tensor, scale: int) -> Tensor:
        """The sum of the scales before one as its input, ``[B, l, width]``."""

    def add(self, tokens: Tensor) -> None:
        """Add the tokens ``[B, l, D]`` of the next scale."""
        codes = self.codes(tokens, self.scale)
        self.total = codes if self.total is None else self.total + codes
        self.scale += 1

    def next_input(self) -> Tensor:
        """Input of the transformer at the next scale, ``[B, l, width]``.

        Raises:
            ValueError: no scale was added; the first one has no visual input.
        """
        if self.total is None:
            raise ValueError("the first scale has no visual input")
        return self.read(self.total, self.scale)


def inputs_from_tokens(tokens_BLD: Tensor, sums: CodeSum) -> tuple[Tensor, Tensor]:
    """Tokens of all scales -> teacher-forcing inputs ``[B, L - 1, width]`` and the summed codes.

    Args:
        tokens_BLD: symbols of all scales.
        sums: nothing added yet.
    """
    inputs = []
    for scale, rows in enumerate(sums.schedule.slices()):
        if scale:
            inputs.append(sums.next_input())
        sums.add(tokens_BLD[:, rows])
    assert sums.total is not None
    return _joined(inputs, sums), sums.total


def _joined(inputs: list[Tensor], sums: CodeSum) -> Tensor:
    assert sums.total is not None
    return torch.cat([sums.total.new_zeros(len(sums.total), 0, sums.width), *inputs], dim=1)


@torch.no_grad()
def sample_scales(
    transformer: Any,
    text: Any,
    sums: CodeSum,
    keys: Sequence[tuple[str, int]],
    sampling: Sampling,
    guidance: Guidance,
    *,
    branches: int,
    show: Callable[[int], None] = lambda scale: None,
    given: Tensor | None = None,
) -> Rollout:
    """Generate tokens scale by scale, with one keyed random number per symbol.

    Args:
        transformer: called as :class:`ScaleTransformer`; ``new_cache`` gives what it keeps.
        text: what it reads of all guidance branches, one after the other, each for B prompts.
        sums: turns sampled tokens into the next scale's input; nothing added yet.
        keys: (prompt id, image seed) per image.
        sampling: filters and temperature; its guidance weight is not used here.
        guidance: combines the branches' logits.
        branches: how many there are.
        show: called with the scale before its logits are combined.
        given: symbols ``[B, l, D]`` of the first scales, which stand in for drawn ones.
    """
    schedule = sums.schedule
    cache = transformer.new_cache(text, schedule)
    tokens, inputs, finite = [], [], []
    known = 0 if given is None else given.shape[1]
    for scale, (length, rows) in enumerate(zip(schedule.lengths, schedule.slices(), strict=True)):
        x = None
        if scale:
            inputs.append(sums.next_input())
            x = inputs[-1].repeat(branches, 1, 1)
        logits = transformer(x, text, schedule, scale + 1, scale, cache).float()
        show(scale)
        guided = guidance.combine(scale, list(logits.chunk(branches))) / sampling.temperature
        if given is not None and rows.stop <= known:
            symbols = given[:, rows]  # the step before has filled caches and guidance all the same
        else:
            numbers = uniforms(keys, scale, length, guided.shape[2], guided.device)
            probabilities = filter_probabilities(guided, sampling.top_k, sampling.top_p)
            finite.append(probabilities.isfinite().flatten(1).all(dim=1))
            symbols = draw(probabilities, numbers)
        sums.add(symbols)
        tokens.append(symbols)
    all_finite = torch.stack(finite).all(dim=0) if finite else None
    return Rollout(torch.cat(tokens, dim=1), _joined(inputs, sums), schedule, all_finite)


def filter_probabilities(logits: Tensor, top_k: int, top_p: float) -> Tensor:
    """Probabilities ``[..., V]`` after top-k, then top-p, on the last dimension.

    Top-p drops the least likely values whose probabilities add up to at most 1 - p; the best
    value always stays. ``top_k = 0`` and ``top_p`` in {0, 1} switch a filter off.
    """
    if 0 < top_k < logits.shape[-1]:
        weakest = logits.topk(top_k, dim=-1).values[..., -1:]
        logits = logits.masked_fill(logits < weakest, -torch.inf)
    if 0 < top_p < 1:
        ordered, order = logits.sort(dim=-1)
        drop = ordered.softmax(dim=-1).cumsum(dim=-1) <= 1 - top_p
        drop[..., -1] = False
        logits = logits.masked_fill(drop.scatter(-1, order, drop), -torch.inf)
    return logits.softmax(dim=-1)


def draw(probabilities: Tensor, numbers: Tensor) -> Tensor:
    """Inverse-CDF draw: ``[B, l, D, V]`` probabilities and ``[B, l, D]`` uniforms -> symbols.

    For bits this is 1[u < P(bit = 1)]: the flip rate between two models is then the total
    variation between them, the least that any coupling allows.
    """
    if probabilities.shape[-1] == 2:
        return (numbers < probabilities[..., 1]).to(torch.uint8)
    below = probabilities.cumsum(dim=-1) <= numbers[..., None]
    # A sum that rounds to less than 1 must not yield a value that was filtered out.
    trailing = (probabilities.flip(-1) > 0).to(torch.int64).argmax(dim=-1)
    return below.sum(dim=-1).minimum(probabilities.shape[-1] - 1 - trailing)
