"""Naive fine-tuning: the loss that VARE replaces (paper's Eq. 6).

``sum_i || p_student(r_i | r_<i, concept) - p_frozen(r_i | s_<i, neutral) ||^2`` with each side on
its **own** history: r is sampled from the model in training under the concept prompt, s from
the frozen model under the neutral prompt. The histories diverge, so the difference mixes the
concept with drift and with errors that add up over scales.

Deviations: the student's histories are sampled again every ``refresh`` iterations, not at every
one (cost); the mean over tokens and symbols instead of the sum.
"""

from __future__ import annotations

from dataclasses import dataclass, field

from varbench.data.concept import EraseTarget
from varbench.methods.training.config import FineTuneConfig
from varbench.methods.training.loop import CHECKPOINT_EVERY, FineTuning
from varbench.methods.training.losses import probability_distance
from varbench.methods.training.objective import Batch, RolloutObjective, Term, batch_condition
from varbench.methods.training.rollouts import (
    AuxiliaryTokens,
    RolloutConfig,
    auxiliary_tokens,
    sample_batch,
)
from varbench.models.protocol import NextScaleModel, Rollout


@dataclass(frozen=True)
class NaiveConfig:
    """Settings of naive fine-tuning.

    Attributes:
        refresh: iterations after which the student's own histories are sampled again; divides
            the checkpoint interval, so that a resumed training sees the same histories.
    """

    refresh: int = 25
    train: FineTuneConfig = field(default_factory=FineTuneConfig)
    rollout: RolloutConfig = field(default_factory=RolloutConfig)

    def __post_init__(self) -> None:
        if self.refresh < 1 or CHECKPOINT_EVERY % self.refresh:
            raise ValueError(f"refresh must divide {CHECKPOINT_EVERY}, got {self.refresh}")


class NaiveObjective(RolloutObjective):
    """One term; each side reads its own history."""

    def __init__(
        self, model: NextScaleModel, frozen: AuxiliaryTokens, config: NaiveConfig, seed: int
    ) -> None:
        super().__init__(model, frozen.rollout)
        self.frozen = frozen
        self.config = config
        self.seed = seed
        self.histories: dict[int, tuple[int, Rollout]] = {}

    def own_history(self, batch: Batch) -> Rollout:
        """The student's roll-outs, sampled again when older than ``refresh`` iterations."""
        age = batch.step // self.config.refresh
        stale = [r for r in batch.rows if self.histories.get(r, (-1, None))[0] != age]
        if stale:
            keys = [(f"own-{r}-{age}", self.seed) for r in stale]
            text = self.frozen.concept.select(stale)
            sampled = sample_batch(self.model, text, keys, self.config.rollout)
            for position, row in enumerate(stale):
                self.histories[row] = (age, sampled.select([position]))
        return Rollout.joined([self.histories[r][1] for r in batch.rows])

    def term(self, name: str, batch: Batch) -> tuple[Term, dict[str, float]]:
        text = batch_condition(self.model, self.frozen.concept, batch)
        student = self.model.logits(self.own_history(batch), text)
        teacher = self.frozen.teacher_logits[batch.rows]
        return Term(name, probability_distance(student, teacher)), {}


class Naive(FineTuning):
    """The ``naive`` baseline."""

    id = "naive"
    Config = NaiveConfig

    def objective(
        self, model: NextScaleModel, concept: EraseTarget, config: NaiveConfig, seed: int
    ) -> NaiveObjective:
        frozen = auxiliary_tokens(model, concept.pairs(), config.rollout, seed)
        return NaiveObjective(model, frozen, config, seed)
