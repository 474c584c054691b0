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
from dataclasses import dataclass

from varbench.data.concept import EraseTarget
from varbench.methods.training.config import VareConfig
from varbench.methods.training.loop import FineTuning
from varbench.methods.training.losses import symbol_cross_entropy, symbol_divergence
from varbench.methods.training.objective import Batch, DistillObjective, SharedHistory, Term
from varbench.methods.training.rollouts import auxiliary_tokens
from varbench.models.protocol import NextScaleModel


@dataclass(frozen=True)
class UntaughtConfig(VareConfig):
    """Settings of a control whose target is the history itself: there is no teacher to guide."""

    def __post_init__(self) -> None:
        self.rollout.check_untaught()


class AscentObjective(SharedHistory):
    """Minus the cross entropy to the history, up to chance level; positive in the log."""

    def term(self, name: str, batch: Batch) -> tuple[Term, dict[str, float]]:
        student = self.student(self.tokens.concept, batch)
        loss = symbol_cross_entropy(student, self.history(batch)).mean()
        unknown = float(loss.detach()) >= math.log(student.shape[-1])
        return Term(name, loss, weight=0.0 if unknown else -1.0), {"at_chance": float(unknown)}


class NftAnchor(FineTuning):
    """The ``nft-anchor`` control: cross entropy to the history."""

    id = "nft-anchor"
    Config = UntaughtConfig

    def objective(
        self, model: NextScaleModel, concept: EraseTarget, config: VareConfig, seed: int
    ) -> DistillObjective:
        tokens = auxiliary_tokens(model, concept.pairs(), config.rollout, seed)
        text, rollout = tokens.concept, tokens.rollout
        return DistillObjective(model, text, rollout, rollout.tokens, symbol_cross_entropy)


class NftDistill(FineTuning):
    """The ``nft-distill`` control: KL from the frozen model under the neutral prompt."""

    id = "nft-distill"
    Config = VareConfig

    def objective(
        self, model: NextScaleModel, concept: EraseTarget, config: VareConfig, seed: int
    ) -> DistillObjective:
        tokens = auxiliary_tokens(model, concept.pairs(), config.rollout, seed, "concept")
        text, teacher = tokens.concept, tokens.teacher_logits
        return DistillObjective(model, text, tokens.rollout, teacher, symbol_divergence)


class NftAscent(FineTuning):
    """The ``nft-ascent`` control."""

    id = "nft-ascent"
    Config = UntaughtConfig

    def objective(
        self, model: NextScaleModel, concept: EraseTarget, config: VareConfig, seed: int
    ) -> AscentObjective:
        tokens = auxiliary_tokens(model, concept.pairs(), config.rollout, seed, "concept")
        return AscentObjective(model, tokens)
