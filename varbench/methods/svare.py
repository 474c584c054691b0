"""S-VARE (Zhong et al., ICLR 2026): filtered cross entropy plus preservation.

Erase: cross entropy of the student under the concept prompt to the symbols of the frozen
model's neutral roll-out, in tokens of which at least a share alpha of the symbols is wrong.
Preserve: KL from the frozen model under the neutral prompt on the same history.

The default is the formula: both terms, equal weights, one optimiser step, plain conditional
teacher. The released code differs; switches reproduce it: ``train.separate_steps=true``
``preserve_weight=0.5`` ``rollout.guided_teacher=true`` ``train.text_drop=0.1``.
Left out: its drop-path, and the level embedding added before every chunk of blocks.
"""

from __future__ import annotations

from dataclasses import dataclass, field, replace

import torch

from varbench.data.concept import EraseTarget
from varbench.errors import check_least
from varbench.methods.base import Edit, TrainingContext
from varbench.methods.training.config import FineTuneConfig
from varbench.methods.training.loop import fine_tune
from varbench.methods.training.losses import (
    LN2,
    filtered_cross_entropy,
    preservation_loss,
    token_filter,
)
from varbench.methods.training.objective import Batch, SharedHistory, Term
from varbench.methods.training.rollouts import AuxiliaryTokens, RolloutConfig, auxiliary_tokens
from varbench.models.protocol import NextScaleModel, at_once


@dataclass(frozen=True)
class SvareConfig:
    """Settings of S-VARE.

    Attributes:
        alpha: share of wrong symbols from which on a token is trained.
        gamma: negative log-likelihood above which a symbol is wrong, nats per bit.
        preserve_weight: weight of the preservation loss; 0 leaves it out.
    """

    alpha: float = 0.25
    gamma: float = LN2
    preserve_weight: float = 1.0
    train: FineTuneConfig = field(default_factory=FineTuneConfig)
    rollout: RolloutConfig = field(default_factory=RolloutConfig)

    def __post_init__(self) -> None:
        if not 0 <= self.alpha <= 1:
            raise ValueError(f"alpha is a share between 0 and 1, got {self.alpha}")
        check_least(0, preserve_weight=self.preserve_weight)


class SvareObjective(SharedHistory):
    """Erasing and preserving on one shared history."""

    def __init__(self, model: NextScaleModel, tokens: AuxiliaryTokens, config: SvareConfig) -> None:
        super().__init__(model, tokens)
        self.config = config

    def terms(self, batch: Batch) -> list[str]:
        return ["erase", "preserve"] if self.config.preserve_weight else ["erase"]

    def term(self, name: str, batch: Batch) -> tuple[Term, dict[str, float]]:
        config = self.config
        if name == "preserve":
            student = self.student(self.tokens.neutral, batch)
            loss = preservation_loss(student, self.teacher(batch))
            return Term(name, loss, config.preserve_weight), {}
        student = self.student(self.tokens.concept, batch)
        target = self.history(batch)
        loss = filtered_cross_entropy(student, target, alpha=config.alpha, gamma=config.gamma)
        keep = token_filter(student, target, alpha=config.alpha, gamma=config.gamma).float()
        shares = {
            f"kept_{scale}": float(keep[:, rows].mean())
            for scale, rows in enumerate(self.tokens.rollout.schedule.slices())
        }
        return Term(name, loss), {"kept": float(keep.mean()), **shares}


@torch.no_grad()
def concept_tokens(
    model: NextScaleModel, tokens: AuxiliaryTokens, config: SvareConfig
) -> list[float]:
    """Per token of the sequence, the share of pairs in which the filter keeps it.

    On the base model it shows which scales and positions carry the concept.
    """
    kept = torch.zeros(tokens.rollout.schedule.total)
    for rows in at_once(len(tokens.rollout), config.train.batch):
        history = tokens.rollout.select(rows)
        logits = model.logits(history, tokens.concept.select(rows))
        keep = token_filter(logits, history.tokens, alpha=config.alpha, gamma=config.gamma)
        kept += keep.float().sum(dim=0).cpu()
    return [float(share) for share in kept / len(tokens.rollout)]


class Svare:
    """The ``svare`` method."""

    id = "svare"
    version = 1
    Config = SvareConfig

    def erase(
        self,
        model: NextScaleModel,
        concept: EraseTarget,
        config: SvareConfig,
        context: TrainingContext,
    ) -> Edit:
        tokens = auxiliary_tokens(model, concept.pairs(), config.rollout, context.seed)
        notes = {
            "schedule": [list(scale) for scale in tokens.rollout.schedule.scales],
            "concept_tokens": concept_tokens(model, tokens, config),
        }
        edit = fine_tune(model, SvareObjective(model, tokens, config), config.train, context)
        return replace(edit, notes=notes)
