"""VARE (Zhong et al., ICLR 2026), basic form: match the frozen model on a shared history.

Paper's Eq. 7: ``sum_i || p_student(r_i | r_ori, concept) - p_frozen(r_i | r_ori, neutral) ||^2``,
where r_ori is the frozen model's roll-out under the neutral prompt (auxiliary visual tokens).

Deviations: the mean over tokens and symbols instead of the sum; the distance is between
probabilities, as the paper writes p (squared difference of logits is the other reading).
"""

from __future__ import annotations

from dataclasses import dataclass, field

import torch

from varbench.data.erase_target import EraseTarget
from varbench.methods.base import Edit, TrainingContext
from varbench.methods.training.loop import Batch, FineTuneConfig, Term, fine_tune, text_of
from varbench.methods.training.losses import probability_distance
from varbench.methods.training.rollouts import AuxiliaryTokens, RolloutConfig, auxiliary_tokens
from varbench.models.protocol import Condition, NextScaleModel


@dataclass(frozen=True)
class VareConfig:
    """Settings of VARE."""

    train: FineTuneConfig = field(default_factory=FineTuneConfig)
    rollout: RolloutConfig = field(default_factory=RolloutConfig)


class SharedHistory:
    """Student and teacher on the auxiliary tokens; base of objectives, with one term by default."""

    def __init__(self, model: NextScaleModel, tokens: AuxiliaryTokens) -> None:
        self.model = model
        self.tokens = tokens

    @property
    def size(self) -> int:
        """Number of pairs."""
        return len(self.tokens.rollout)

    def terms(self, batch: Batch) -> list[str]:
        return ["erase"]

    def history(self, batch: Batch) -> torch.Tensor:
        """The sampled symbols ``[B, L, D]`` of the batch's roll-outs."""
        return self.tokens.rollout.tokens[batch.rows]

    def student(self, condition: Condition, batch: Batch) -> torch.Tensor:
        """Logits ``[B, L, D, V]`` of the model in training on the batch's roll-outs."""
        text = text_of(self.model, condition, batch)
        return self.model.logits(self.tokens.rollout.select(batch.rows), text)

    def teacher(self, batch: Batch) -> torch.Tensor:
        """The frozen model's logits for the neutral prompts."""
        return self.tokens.teacher_logits[batch.rows]


class VareObjective(SharedHistory):
    """One term: distance to the frozen model's probabilities."""

    def term(self, name: str, batch: Batch) -> tuple[Term, dict[str, float]]:
        student = self.student(self.tokens.concept, batch)
        return Term(name, probability_distance(student, self.teacher(batch))), {}


class Vare:
    """The ``vare`` method."""

    id = "vare"
    version = 1
    Config = VareConfig

    def erase(
        self,
        model: NextScaleModel,
        concept: EraseTarget,
        config: VareConfig,
        place: TrainingContext,
    ) -> Edit:
        tokens = auxiliary_tokens(model, concept.pairs(), config.rollout, place.seed)
        return fine_tune(model, VareObjective(model, tokens), config.train, place)
