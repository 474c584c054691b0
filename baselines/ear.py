"""EAR (arXiv 2506.20151): steer the last hidden states away from the concept, window by window.

For a window of visual tokens, with h the student's last hidden states (width W) for the concept
prompt and h* the frozen model's, on one history:

``target = h*(neutral) - eta (h*(concept) - h*(neutral))``
``loss   = sum over the window's tokens of |h(concept) - target|^2 / W``

*Windowed gradient accumulation*: one optimiser step per window. *Thresholded loss masking*: a
window whose summed loss does not exceed ``threshold`` is dropped, no step is made.

Stated (paper and released code, for Janus-Pro, a next-token model): the target with eta = 1, the
mean over the width and the sum over the window, windows of 12 to 100 of 576 tokens, the threshold
0.05, self-attention of the first 5 of 30 blocks, Adam at 1e-4, one pass over about 50 prompts
(300 to 600 steps).

Inferred: a window is a scale; hidden states are those that the last block gives. One iteration
trains one scale, coarse to fine in turn, so that iterations, optimiser steps and forward passes
are as many as other methods'. Scales differ in size where EAR's windows do not, so a kept
window's gradient is that of the *mean* over its tokens (with the sum, the finest scales alone
would fill Adam's moments); the threshold still judges the sum, averaged over the batch.

Deviates: both sides read one history, the frozen model's roll-out of the neutral prompt
(``prefix``), where the released code lets every branch sample its own; no window is carried on
without its history, as that code does from the second token on; the released code's second row,
which holds the unconditional prediction at the frozen one, is left out; AdamW and the common
training loop.
"""

from __future__ import annotations

from dataclasses import dataclass, field

import torch
from torch import Tensor

from varbench.data.concept import EraseTarget
from varbench.errors import check_choice, check_least
from varbench.methods.training.config import FineTuneConfig
from varbench.methods.training.loop import FineTuning
from varbench.methods.training.losses import steer_away
from varbench.methods.training.objective import Batch, RolloutObjective, Term, batch_condition
from varbench.methods.training.rollouts import PREFIXES, RolloutConfig, pair_rollouts
from varbench.models.capabilities import CutsRollouts, HasHidden, require
from varbench.models.protocol import Condition, NextScaleModel, Rollout


@dataclass(frozen=True)
class EarConfig:
    """Settings of EAR.

    Attributes:
        eta: how far the target lies beyond the neutral prediction, away from the concept's.
        threshold: summed loss of a scale up to which it is not trained.
        prefix: which side of a pair is rolled out: ``neutral``, ``concept`` or ``mixed``.
    """

    eta: float = 1.0
    threshold: float = 0.05
    prefix: str = "neutral"
    train: FineTuneConfig = field(
        default_factory=lambda: FineTuneConfig(parts=("self_attention",), blocks=5)
    )
    rollout: RolloutConfig = field(default_factory=RolloutConfig)

    def __post_init__(self) -> None:
        self.rollout.check_untaught()
        check_choice("prefix", self.prefix, PREFIXES)
        check_least(-1, eta=self.eta)  # -1 is the concept itself
        check_least(0, threshold=self.threshold)


@torch.no_grad()
def targets(
    model: NextScaleModel, rollout: Rollout, concept: Condition, neutral: Condition, eta: float
) -> Tensor:
    """Hidden states ``[N, L, W]`` to be reached, from the unedited model, in host memory."""
    hidden = require(model, HasHidden, "ear").hidden
    states = []
    for i in range(len(rollout)):
        history = rollout.select([i])
        shown, plain = (hidden(history, text.select([i])).float() for text in (concept, neutral))
        states.append(steer_away(plain, shown, eta).cpu())
    return torch.cat(states)


@dataclass
class EarObjective(RolloutObjective):
    """One term: the hidden states of one scale, another one at every iteration."""

    text: Condition
    target: Tensor
    threshold: float

    def __post_init__(self) -> None:
        self.hidden = require(self.model, HasHidden, "ear").hidden
        self.cut = require(self.model, CutsRollouts, "ear").first_scales
        self.windows = list(self.rollout.schedule.slices())

    def term(self, name: str, batch: Batch) -> tuple[Term, dict[str, float]]:
        scale = batch.step % len(self.windows)
        window = self.windows[scale]
        history = self.cut(self.rollout.select(batch.rows), scale + 1)
        hidden = self.hidden(history, batch_condition(self.model, self.text, batch))[
            :, window
        ].float()
        target = self.target[batch.rows][:, window].to(hidden.device)
        loss = (hidden - target).square().mean()
        summed = float(loss.detach()) * (window.stop - window.start)
        kept = float(summed > self.threshold)
        return Term(name, loss, kept), {"scale": scale, "summed": summed, "kept": kept}


class Ear(FineTuning):
    """The ``ear`` method."""

    id = "ear"
    Config = EarConfig

    def objective(
        self, model: NextScaleModel, concept: EraseTarget, config: EarConfig, seed: int
    ) -> EarObjective:
        for capability in (HasHidden, CutsRollouts):
            require(model, capability, self.id)
        pairs = concept.pairs()
        shown = model.encode([pair.concept for pair in pairs])
        plain = model.encode([pair.neutral for pair in pairs])
        rollout = pair_rollouts(model, pairs, config.rollout, seed, config.prefix)
        target = targets(model, rollout, shown, plain, config.eta)
        return EarObjective(model, rollout, shown, target, config.threshold)
