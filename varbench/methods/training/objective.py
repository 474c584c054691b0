"""Objectives: the part of a fine-tuning method that differs between methods.

The training loop asks an :class:`Objective` for its loss terms on one :class:`Batch` after the
other. Most objectives read roll-outs that were sampled once from the frozen model:
:class:`RolloutObjective` is their base, :class:`SharedHistory` adds VARE's auxiliary tokens, and
:class:`DistillObjective` is complete: one distance to targets that were computed beforehand.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass, replace
from typing import Protocol

from torch import Tensor

from varbench.methods.training.rollouts import AuxiliaryTokens
from varbench.models.protocol import Condition, NextScaleModel, Rollout


@dataclass(frozen=True)
class Term:
    """One weighted part of the loss; ``weight`` is not yet multiplied in, 0 leaves it out.

    An optimiser step whose terms are all left out is not made.
    """

    name: str
    value: Tensor
    weight: float = 1.0


@dataclass(frozen=True)
class Batch:
    """Training pairs of one iteration.

    Attributes:
        step: number of the iteration, from 0.
        rows: indices of the pairs.
        drop: per row, whether its text is replaced by the null condition.
    """

    step: int
    rows: list[int]
    drop: list[bool]

    def in_turn(self, count: int) -> Batch:
        """As many rows of another set of ``count``, which is gone through in order."""
        first = self.step * len(self.rows)
        return replace(self, rows=[(first + i) % count for i in range(len(self.rows))])


class Objective(Protocol):
    """Loss terms of a fine-tuning method."""

    @property
    def size(self) -> int:
        """Number of training pairs."""
        ...

    def terms(self, batch: Batch) -> list[str]:
        """Names of the loss terms, in the order of separate optimiser steps."""
        ...

    def term(self, name: str, batch: Batch) -> tuple[Term, dict[str, float]]:
        """One loss term with gradient, and numbers worth logging."""
        ...


def batch_condition(model: NextScaleModel, condition: Condition, batch: Batch) -> Condition:
    """The batch's prompts, some of them replaced by the null condition (``text_drop``)."""
    chosen = condition.select(batch.rows)
    return chosen.choose(model.null(chosen), batch.drop) if any(batch.drop) else chosen


@dataclass
class RolloutObjective:
    """Base of objectives on stored roll-outs, with one term by default.

    Attributes:
        model: the model in training.
        rollout: one history per training pair, from the frozen model.
    """

    model: NextScaleModel
    rollout: Rollout

    @property
    def size(self) -> int:
        """Number of pairs."""
        return len(self.rollout)

    def terms(self, batch: Batch) -> list[str]:
        return ["erase"]

    def history(self, batch: Batch) -> Tensor:
        """The sampled symbols ``[B, L, D]`` of the batch's roll-outs."""
        return self.rollout.tokens[batch.rows]

    def student(self, condition: Condition, batch: Batch) -> Tensor:
        """Logits ``[B, L, D, V]`` of the model in training on the batch's roll-outs."""
        text = batch_condition(self.model, condition, batch)
        return self.model.logits(self.rollout.select(batch.rows), text)


class SharedHistory(RolloutObjective):
    """Base of objectives whose student and teacher read the same auxiliary tokens."""

    def __init__(self, model: NextScaleModel, tokens: AuxiliaryTokens) -> None:
        super().__init__(model, tokens.rollout)
        self.tokens = tokens

    def teacher(self, batch: Batch) -> Tensor:
        """The frozen model's logits for the neutral prompts."""
        return self.tokens.teacher_logits[batch.rows]


class DistillObjective(RolloutObjective):
    """One term: the student's distance from stored targets.

    Args:
        model: the model in training.
        text: the student's prompt on each roll-out.
        rollout: the frozen model's roll-outs.
        target: what the loss compares with, one row per roll-out, such as logits ``[N, L, D, V]``.
        loss: called with the student's logits and the batch's targets; its mean is trained.
    """

    def __init__(
        self,
        model: NextScaleModel,
        text: Condition,
        rollout: Rollout,
        target: Tensor,
        loss: Callable[[Tensor, Tensor], Tensor],
    ) -> None:
        super().__init__(model, rollout)
        self.text = text
        self.target = target
        self.loss = loss

    def term(self, name: str, batch: Batch) -> tuple[Term, dict[str, float]]:
        student = self.student(self.text, batch)
        return Term(name, self.loss(student, self.target[batch.rows]).mean()), {}
