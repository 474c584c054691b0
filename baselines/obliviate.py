"""Obliviate (arXiv 2606.28643, ECCV 2026): unlearn on the concept's own roll-outs.

``mean_i KL( softmax(u - eta (c - u)) || student(r_i | r_<i, concept) )``, where r is the frozen
model's roll-out of the *concept* prompt and c and u are its conditional and unconditional logits
on that same history. The mirror image of VARE, whose history is the neutral prompt's: a student
trained here has seen what to do once early scales already show the concept. It is ESD's loss
(``esd.py``) without its bound on the target, and trains other parts.

Stated (paper and released code, for next-token models): the target, eta = 2, the KL from the
target to the student's conditional distribution, the mean over all image tokens, no preservation
loss; rank 32 adapters (alpha 16, dropout 0.05), AdamW at 1e-4 with linear decay, clipping at 0.5,
1000 steps on 1000 roll-outs of one prompt.

Inferred: scales take the place of tokens, the bits (or the index) of a token that of its id; the
null condition is the unconditional prompt. All scales share one history, so one forward pass
trains them all.

Deviates: one roll-out of each training pair's concept side instead of many of one prompt, and the
common training loop, so that methods compare on equal terms. The matrices themselves are trained
by default, because adapters need an extra package and a default must not depend on what is
installed; ``train.lora_rank=32`` (``train.lora_alpha`` is 16 already) trains the released code's,
without dropout. The mean runs over symbols as well as tokens.
"""

from __future__ import annotations

from dataclasses import dataclass, field

from varbench.baselines.esd import Esd, EsdConfig
from varbench.data.concept import EraseTarget
from varbench.errors import check_least
from varbench.methods.training.config import FineTuneConfig
from varbench.methods.training.loop import FineTuning
from varbench.methods.training.losses import ScaleWeights
from varbench.methods.training.objective import DistillObjective
from varbench.methods.training.rollouts import RolloutConfig
from varbench.models.protocol import NextScaleModel


@dataclass(frozen=True)
class ObliviateConfig:
    """Settings of Obliviate.

    Attributes:
        eta: how far the target lies beyond the unconditional prediction, away from the concept's.
        scales: weights of the scales; every token counts the same by default.
    """

    eta: float = 2.0
    scales: ScaleWeights = field(default_factory=lambda: ScaleWeights(scheme="token"))
    train: FineTuneConfig = field(default_factory=FineTuneConfig)
    rollout: RolloutConfig = field(default_factory=RolloutConfig)

    def __post_init__(self) -> None:
        self.rollout.check_untaught()
        check_least(-1, eta=self.eta)  # -1 is the concept itself


class Obliviate(FineTuning):
    """The ``obliviate`` method."""

    id = "obliviate"
    Config = ObliviateConfig

    def objective(
        self, model: NextScaleModel, concept: EraseTarget, config: ObliviateConfig, seed: int
    ) -> DistillObjective:
        esd = EsdConfig(eta=config.eta, z_max=0, scales=config.scales, rollout=config.rollout)
        return Esd().objective(model, concept, esd, seed)
