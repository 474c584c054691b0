"""VARE (Zhong et al., ICLR 2026), basic form: match the frozen model on a shared history.

Paper's Eq. 7: ``sum_i || p_student(r_i | r_ori, concept) - p_frozen(r_i | r_ori, neutral) ||^2``,
where r_ori is the frozen model's roll-out under the neutral prompt (auxiliary visual tokens).

Deviations: the mean over tokens and symbols instead of the sum; the distance is between
probabilities, as the paper writes p (squared difference of logits is the other reading).
"""

from __future__ import annotations

from dataclasses import dataclass, field

from varbench.data.erase_target import EraseTarget
from varbench.methods.base import Edit, TrainingContext
from varbench.methods.training.config import FineTuneConfig
from varbench.methods.training.loop import fine_tune
from varbench.methods.training.losses import probability_distance
from varbench.methods.training.objective import DistillObjective
from varbench.methods.training.rollouts import RolloutConfig, auxiliary_tokens
from varbench.models.protocol import NextScaleModel


@dataclass(frozen=True)
class VareConfig:
    """Settings of VARE."""

    train: FineTuneConfig = field(default_factory=FineTuneConfig)
    rollout: RolloutConfig = field(default_factory=RolloutConfig)


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
        context: TrainingContext,
    ) -> Edit:
        tokens = auxiliary_tokens(model, concept.pairs(), config.rollout, context.seed)
        objective = DistillObjective(
            model, tokens.concept, tokens.rollout, tokens.teacher_logits, probability_distance
        )
        return fine_tune(model, objective, config.train, context)
