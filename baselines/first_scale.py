"""First-scale tuning in the spirit of SACE (arXiv 2606.15819): OUR READING, not the paper's.

With z the student's and z* the frozen model's logits of the first scale, d its symbols, H the
entropy of a symbol:

erase:    ``mean_d KL( z*(neutral) || z(concept) ) + entropy_weight
          mean_d max(0, H(z(concept)) - H(z*(neutral)))``
preserve: ``mean_d KL( z*(benign) || z(benign) )`` over neutral and retained prompts

Stated (abstract; formulas, settings and numbers are unpublished): a concept is fixed at the first
scale; only that scale is tuned, with an entropy-regularised erasing loss that keeps sampling from
degenerating into high entropy, and with a preservation loss; training is cheap.

Inferred: everything above. The target is the frozen model's prediction for the neutral prompt.
Entropy is penalised only where it exceeds the target's, since a confident model is no
degeneration. Erasing and preserving add up to one step.

The first scale has no history, so no roll-outs are needed, and a model that computes early scales
without the late ones (``CutsRollouts``) trains on one token instead of thousands. No loss sees
later scales, but weights are shared by all scales: their predictions move too, and what they
still know of the concept is not erased.
"""

from __future__ import annotations

from dataclasses import dataclass, field

from varbench.data.concept import EraseTarget
from varbench.errors import check_least
from varbench.methods.training.config import FineTuneConfig
from varbench.methods.training.loop import FineTuning
from varbench.methods.training.losses import symbol_divergence, symbol_entropy
from varbench.methods.training.objective import Batch, RolloutObjective, Term
from varbench.methods.training.rollouts import frozen_logits
from varbench.models.capabilities import CutsRollouts, require
from varbench.models.protocol import NextScaleModel


@dataclass(frozen=True)
class FirstScaleConfig:
    """Settings of first-scale tuning.

    Attributes:
        entropy_weight: weight of the excess entropy inside the erasing loss; 0 leaves it out.
        preserve_weight: weight of the preservation loss; 0 leaves it out.
    """

    entropy_weight: float = 1.0
    preserve_weight: float = 1.0
    train: FineTuneConfig = field(default_factory=FineTuneConfig)

    def __post_init__(self) -> None:
        check_least(0, entropy_weight=self.entropy_weight, preserve_weight=self.preserve_weight)


class FirstScaleObjective(RolloutObjective):
    """Two terms on the first scale's logits.

    Args:
        model: still unedited.
        concept: its N pairs and M retained prompts.
        config: the weights.
    """

    def __init__(
        self, model: NextScaleModel, concept: EraseTarget, config: FirstScaleConfig
    ) -> None:
        cut = require(model, CutsRollouts, "first-scale").first_scales
        pairs = concept.pairs()
        texts = [*(pair.neutral for pair in pairs), *concept.retain_prompts()]
        self.config = config
        self.concept = model.encode([pair.concept for pair in pairs])
        self.benign = model.encode(texts)
        # One image's first scale, all of whose inputs is the text.
        start = cut(model.generate(self.benign.select([0]), [("first-scale", 0)]), 1)
        super().__init__(model, start.select([0] * len(texts)))
        self.teacher = frozen_logits(model, self.rollout, self.benign)  # [N + M, l, D, V]

    @property
    def size(self) -> int:
        """Number of pairs."""
        return len(self.concept)

    def terms(self, batch: Batch) -> list[str]:
        return ["erase", "preserve"] if self.config.preserve_weight else ["erase"]

    def preserved(self, batch: Batch) -> Batch:
        """The batch's neutral prompts and as many retained ones, which are taken in turn."""
        first, others = self.size, len(self.benign) - self.size
        if not others:
            return batch
        retained = [first + row for row in batch.in_turn(others).rows]
        return Batch(batch.step, [*batch.rows, *retained], batch.drop * 2)

    def term(self, name: str, batch: Batch) -> tuple[Term, dict[str, float]]:
        if name == "preserve":
            batch = self.preserved(batch)
            student = self.student(self.benign, batch)
            loss = symbol_divergence(student, self.teacher[batch.rows]).mean()
            return Term(name, loss, self.config.preserve_weight), {}
        student, target = self.student(self.concept, batch), self.teacher[batch.rows]
        divergence = symbol_divergence(student, target).mean()
        excess = (symbol_entropy(student) - symbol_entropy(target)).clamp_min(0).mean()
        loss = divergence + self.config.entropy_weight * excess
        return Term(name, loss), {"excess_entropy": float(excess.detach())}


class FirstScaleTuning(FineTuning):
    """The ``first-scale`` method."""

    id = "first-scale"
    Config = FirstScaleConfig

    def objective(
        self, model: NextScaleModel, concept: EraseTarget, config: FirstScaleConfig, seed: int
    ) -> FirstScaleObjective:
        return FirstScaleObjective(model, concept, config)
