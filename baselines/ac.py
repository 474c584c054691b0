"""Concept ablation (AC; Kumari et al., ICCV 2023): predict the anchor's image for the concept.

On the frozen model's roll-out r of the *neutral* (anchor) prompt, in means over tokens and
symbols:

- ``target: model``: ``KL(frozen(neutral) || student(concept))`` (model-based, AC-M);
- ``target: noise``: ``CE(student(concept), r)`` (noise-based, AC-N: the sampled symbols stand
  for the noise that the diffusion model was given);
- prior, both: ``+ prior_weight * CE(student(neutral), r)``.

Stated (paper and released code, for Stable Diffusion): both targets, each a squared error of the
noise prediction on noised images of the anchor; the prior term as an option, off by default;
keys and values of cross-attention as what is trained; rate 2e-6, 100 to 400 steps.

Inferred for a next-scale model: a distribution per symbol takes the place of a noise prediction,
KL and cross entropy that of the squared error; the frozen model's roll-out that of images of
the anchor. Keys and values of cross-attention leave the pooled text as it is (in Infinity: first
token, AdaLN, head), which the U-Net does not have; ``train.parts=[cross_attention.kv,
pooled_text]`` trains that as well.

Deviates: the target is the frozen model's, where the original takes that of the model in training
without gradient; the first text token keeps its gradient, because a T5 has no start token to
detach. ``target: model`` is VARE with KL for its distance and fewer parts; ``target: noise`` is
S-VARE's erasing loss without its filter.
"""

from __future__ import annotations

from dataclasses import dataclass, field

from varbench.data.concept import EraseTarget
from varbench.errors import check_choice, check_least
from varbench.methods.training.config import FineTuneConfig
from varbench.methods.training.loop import FineTuning
from varbench.methods.training.losses import symbol_cross_entropy, symbol_divergence
from varbench.methods.training.objective import Batch, SharedHistory, Term
from varbench.methods.training.rollouts import AuxiliaryTokens, RolloutConfig, auxiliary_tokens
from varbench.models.protocol import NextScaleModel

TARGETS = ("model", "noise")


@dataclass(frozen=True)
class AcConfig:
    """Settings of concept ablation.

    Attributes:
        target: ``model`` or ``noise``.
        prior_weight: weight of the prior term; 0 leaves it out.
    """

    target: str = "model"
    prior_weight: float = 0.0
    train: FineTuneConfig = field(
        default_factory=lambda: FineTuneConfig(parts=("cross_attention.kv",))
    )
    rollout: RolloutConfig = field(default_factory=RolloutConfig)

    def __post_init__(self) -> None:
        check_choice("target", self.target, TARGETS)
        check_least(0, prior_weight=self.prior_weight)
        if self.target == "noise":
            self.rollout.check_untaught()


class AcObjective(SharedHistory):
    """The anchor's prediction or symbols for the concept prompt, and the prior term."""

    def __init__(self, model: NextScaleModel, tokens: AuxiliaryTokens, config: AcConfig) -> None:
        super().__init__(model, tokens)
        self.config = config

    def terms(self, batch: Batch) -> list[str]:
        return ["erase", "prior"] if self.config.prior_weight else ["erase"]

    def term(self, name: str, batch: Batch) -> tuple[Term, dict[str, float]]:
        if name == "prior":
            student = self.student(self.tokens.neutral, batch)
            loss = symbol_cross_entropy(student, self.history(batch)).mean()
            return Term(name, loss, self.config.prior_weight), {}
        student = self.student(self.tokens.concept, batch)
        if self.config.target == "model":
            return Term(name, symbol_divergence(student, self.teacher(batch)).mean()), {}
        return Term(name, symbol_cross_entropy(student, self.history(batch)).mean()), {}


class Ac(FineTuning):
    """The ``ac`` baseline."""

    id = "ac"
    Config = AcConfig

    def objective(
        self, model: NextScaleModel, concept: EraseTarget, config: AcConfig, seed: int
    ) -> AcObjective:
        tokens = auxiliary_tokens(model, concept.pairs(), config.rollout, seed)
        return AcObjective(model, tokens, config)
