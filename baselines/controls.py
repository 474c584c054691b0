"""Controls of naive fine-tuning: hard or soft target, whose history, towards or away.

All three read one stored history per pair, sampled from the frozen model, and train the student
under the *concept* prompt, without filter and without preservation (means over tokens and
symbols):

- ``nft-anchor``: history r of the neutral prompt, ``CE(student(concept), r)``. It is S-VARE's
  erasing loss without its filter (alpha = 0).
- ``nft-distill``: history r of the concept prompt,
  ``KL(frozen(neutral) || student(concept))``: the soft target, where the concept already shows.
- ``nft-ascent``: history r of the concept prompt, ``-CE(student(concept), r)``: away from the
  concept, towards nothing.

Stated by no paper as such: they take the naive fine-tuning of VARE (Zhong et al., ICLR 2026) and
plain concept ablation apart. Inferred: ascent is unbounded, so it stops at chance level. A batch
whose mean cross entropy has reached ln V nats per symbol (for bits ln 2) makes no step; the next
batch is asked again, since a forgotten image may be remembered by steps on others.
"""

from __future__ import annotations

import math
from collections.abc import Callable
from dataclasses import dataclass, field

from varbench.data.erase_target import EraseTarget
from varbench.methods.base import Edit, TrainingContext
from varbench.methods.training.config import FineTuneConfig
from varbench.methods.training.loop import fine_tune
from varbench.methods.training.losses import symbol_cross_entropy, symbol_divergence
from varbench.methods.training.objective import (
    Batch,
    DistillObjective,
    Objective,
    SharedHistory,
    Term,
)
from varbench.methods.training.rollouts import AuxiliaryTokens, RolloutConfig, auxiliary_tokens
from varbench.models.protocol import NextScaleModel


@dataclass(frozen=True)
class DistillConfig:
    """Settings of a control."""

    train: FineTuneConfig = field(default_factory=FineTuneConfig)
    rollout: RolloutConfig = field(default_factory=RolloutConfig)


@dataclass(frozen=True)
class TokensConfig(DistillConfig):
    """Settings of a control whose target is the history itself: there is no teacher to guide."""

    def __post_init__(self) -> None:
        if self.rollout.guided_teacher:
            raise ValueError("rollout.guided_teacher does nothing here; set it to false")


class AscentObjective(SharedHistory):
    """Minus the cross entropy to the history, up to chance level; positive in the log."""

    def term(self, name: str, batch: Batch) -> tuple[Term, dict[str, float]]:
        student = self.student(self.tokens.concept, batch)
        loss = symbol_cross_entropy(student, self.history(batch)).mean()
        unknown = float(loss.detach()) >= math.log(student.shape[-1])
        return Term(name, loss, weight=0.0 if unknown else -1.0), {"at_chance": float(unknown)}


def anchor_objective(model: NextScaleModel, tokens: AuxiliaryTokens) -> DistillObjective:
    """Cross entropy to the history."""
    text, rollout = tokens.concept, tokens.rollout
    return DistillObjective(model, text, rollout, rollout.tokens, symbol_cross_entropy)


def distill_objective(model: NextScaleModel, tokens: AuxiliaryTokens) -> DistillObjective:
    """KL from the frozen model under the neutral prompt."""
    text, rollout = tokens.concept, tokens.rollout
    return DistillObjective(model, text, rollout, tokens.teacher_logits, symbol_divergence)


class _Control:
    version = 1
    prefix: str
    objective: Callable[[NextScaleModel, AuxiliaryTokens], Objective]

    def erase(
        self,
        model: NextScaleModel,
        concept: EraseTarget,
        config: DistillConfig,
        context: TrainingContext,
    ) -> Edit:
        tokens = auxiliary_tokens(model, concept.pairs(), config.rollout, context.seed, self.prefix)
        return fine_tune(model, self.objective(model, tokens), config.train, context)


class NftAnchor(_Control):
    """The ``nft-anchor`` control."""

    id = "nft-anchor"
    Config = TokensConfig
    prefix = "neutral"
    objective = staticmethod(anchor_objective)


class NftDistill(_Control):
    """The ``nft-distill`` control."""

    id = "nft-distill"
    Config = DistillConfig
    prefix = "concept"
    objective = staticmethod(distill_objective)


class NftAscent(_Control):
    """The ``nft-ascent`` control."""

    id = "nft-ascent"
    Config = TokensConfig
    prefix = "concept"
    objective = AscentObjective
