"""VARE (Zhong et al., ICLR 2026), basic form: match the frozen model on a shared history.

Paper's Eq. 7: ``sum_i || p_student(r_i | r_ori, concept) - p_frozen(r_i | r_ori, neutral) ||^2``,
where r_ori is the frozen model's roll-out under the neutral prompt (auxiliary visual tokens).

Deviations: the mean over tokens and symbols instead of the sum; the distance is between
probabilities, as the paper writes p (squared difference of logits is the other reading).
"""

from __future__ import annotations

from varbench.data.concept import EraseTarget
from varbench.methods.training.config import VareConfig
from varbench.methods.training.loop import FineTuning
from varbench.methods.training.losses import probability_distance
from varbench.methods.training.objective import DistillObjective
from varbench.methods.training.rollouts import auxiliary_tokens
from varbench.models.protocol import NextScaleModel


class Vare(FineTuning):
    """The ``vare`` method."""

    id = "vare"
    Config = VareConfig

    def objective(
        self, model: NextScaleModel, concept: EraseTarget, config: VareConfig, seed: int
    ) -> DistillObjective:
        tokens = auxiliary_tokens(model, concept.pairs(), config.rollout, seed)
        return DistillObjective(
            model, tokens.concept, tokens.rollout, tokens.teacher_logits, probability_distance
        )
