"""SalUn (Fan et al., ICLR 2024): unlearn in the weights that matter for the concept, no others.

1. Saliency: of the trained parameters, the share whose gradient of the forget loss
   ``CE(frozen(concept), r)`` is *largest* in size, over all tensors together; r is the frozen
   model's roll-out of the concept prompt, the gradient is the mean over all pairs.
2. These alone are trained on
   ``KL(frozen(neutral) || student(concept)) on r + preserve_weight CE(student(retained), r')``,
   r' the frozen model's roll-outs of the retained prompts.

Stated (paper and released code, for Stable Diffusion): gradient of the training loss on what is to
be forgotten, its size, the median as threshold, one threshold for the whole network, which is
also what is trained; then the prediction for the concept is trained towards that for another
class, and a loss on retained data is added with weight 0.5 (objects) or 0.1 (nudity); gradients
are multiplied by the mask; rate 1e-5.

Inferred for a next-scale model: cross entropy per symbol takes the place of the diffusion loss,
KL that of the squared error between two predictions. The other class is the pair's neutral side.

Deviates: the released mask script for Stable Diffusion ranks sizes in ascending order and so
keeps the *smallest* half; this is the paper's definition. The target is the frozen model's, not
that of the model in training without gradient. What the mask excludes keeps its bits also under
Adam's moments and weight decay. Entries without any gradient are never salient.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field, replace

import torch
from torch import Tensor

from varbench.data.concept import EraseTarget
from varbench.errors import UserError, check_least
from varbench.methods.base import Edit, TrainingContext
from varbench.methods.training.config import FineTuneConfig
from varbench.methods.training.loop import fine_tune
from varbench.methods.training.losses import symbol_cross_entropy, symbol_divergence
from varbench.methods.training.objective import Batch, DistillObjective, SharedHistory, Term
from varbench.methods.training.parameters import trained_parameters, training_mode
from varbench.methods.training.rollouts import (
    AuxiliaryTokens,
    RolloutConfig,
    auxiliary_tokens,
    sample_batch,
)
from varbench.models.protocol import NextScaleModel


@dataclass(frozen=True)
class SalunConfig:
    """Settings of SalUn.

    Attributes:
        share: part of the trained parameters' entries that may change.
        preserve_weight: weight of the loss on retained prompts; 0 leaves it out.
    """

    share: float = 0.5
    preserve_weight: float = 0.5
    train: FineTuneConfig = field(default_factory=lambda: FineTuneConfig(parts=("all",)))
    rollout: RolloutConfig = field(default_factory=RolloutConfig)

    def __post_init__(self) -> None:
        if not 0 < self.share <= 1:
            raise ValueError(f"share must be above 0 and at most 1, got {self.share}")
        check_least(0, preserve_weight=self.preserve_weight)
        if self.train.lora_rank:
            raise ValueError("a mask picks entries of whole matrices; set train.lora_rank=0")


def largest(sizes: Mapping[str, Tensor], share: float) -> dict[str, Tensor]:
    """Masks of the entries in the largest share over all tensors; never one that is 0.

    Args:
        sizes: not negative, of any shapes.
        share: above 0, at most 1; of all entries, rounded.

    Returns:
        Bool tensors by name. Ties with the smallest chosen entry are chosen too.
    """
    every = torch.cat([size.flatten() for size in sizes.values()])
    smaller = len(every) - max(1, round(share * len(every)))
    cutoff = every.kthvalue(smaller + 1).values
    return {name: (size >= cutoff) & (size > 0) for name, size in sizes.items()}


def saliency(
    model: NextScaleModel, tokens: AuxiliaryTokens, config: FineTuneConfig
) -> dict[str, Tensor]:
    """Size of the forget loss's gradient in every entry of what is trained.

    Args:
        model: unedited; it has no gradients afterwards.
        tokens: roll-outs of the concept prompts.
        config: chooses the trained parameters and the precision of the gradients.
    """
    count = len(tokens.rollout)
    chosen = trained_parameters(model, config)
    with training_mode(model, chosen, config, seed=0) as (parameters, _):
        for i in range(count):
            history = tokens.rollout.select([i])
            logits = model.logits(history, tokens.concept.select([i]))
            (symbol_cross_entropy(logits, history.tokens).mean() / count).backward()
        sizes = {}
        for name, p in parameters.items():
            sizes[name] = torch.zeros_like(p.detach()) if p.grad is None else p.grad.abs()
            p.grad = None
    return sizes


def retained_objective(
    model: NextScaleModel, concept: EraseTarget, config: RolloutConfig, seed: int
) -> DistillObjective:
    """Cross entropy to the frozen model's roll-outs of the concept's retained prompts.

    Raises:
        UserError: there are no such prompts.
    """
    prompts = concept.retain_prompts()
    if not prompts:
        raise UserError(
            f"{concept.name} has no prompts of what must stay: add some to pairs.retain of its "
            "file, or set method.preserve_weight=0"
        )
    text = model.encode(prompts)
    keys = [(f"retained-{i}", seed) for i in range(len(prompts))]
    rollout = sample_batch(model, text, keys, config)
    return DistillObjective(model, text, rollout, rollout.tokens, symbol_cross_entropy)


class SalunObjective(SharedHistory):
    """Distillation on the concept's roll-outs, cross entropy on retained ones."""

    def __init__(
        self,
        model: NextScaleModel,
        tokens: AuxiliaryTokens,
        retained: DistillObjective | None,
        preserve_weight: float,
    ) -> None:
        super().__init__(model, tokens)
        self.retained = retained
        self.preserve_weight = preserve_weight

    def terms(self, batch: Batch) -> list[str]:
        return ["erase"] if self.retained is None else ["erase", "preserve"]

    def term(self, name: str, batch: Batch) -> tuple[Term, dict[str, float]]:
        if name == "preserve" and self.retained is not None:
            term, notes = self.retained.term(name, batch.in_turn(self.retained.size))
            return replace(term, weight=self.preserve_weight), notes
        student = self.student(self.tokens.concept, batch)
        return Term(name, symbol_divergence(student, self.teacher(batch)).mean()), {}


class Salun:
    """The ``salun`` baseline."""

    id = "salun"
    version = 1
    Config = SalunConfig

    def erase(
        self,
        model: NextScaleModel,
        concept: EraseTarget,
        config: SalunConfig,
        context: TrainingContext,
    ) -> Edit:
        retained = None
        if config.preserve_weight:
            retained = retained_objective(model, concept, config.rollout, context.seed)
        tokens = auxiliary_tokens(model, concept.pairs(), config.rollout, context.seed, "concept")
        masks = largest(saliency(model, tokens, config.train), config.share)
        objective = SalunObjective(model, tokens, retained, config.preserve_weight)
        return fine_tune(model, objective, config.train, context, masks)
