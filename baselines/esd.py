"""ESD (Gandikota et al., ICCV 2023): guidance away from the concept, trained into the weights.

With z_c and z_0 the frozen model's logits for the concept prompt and for the null condition on
one shared history r, and w the weights of the scales:

``target = z_0 - eta (z_c - z_0)``,
``loss = sum_k w_k mean over scale k of distance(target, student(r, concept))``,

so that every symbol's target is ``P* ~ P_0^(1 + eta) / P_c^eta``. ``loss: kl`` is
``KL(P* || P_student)``, ``mse`` the squared difference of log-odds, the original's square.

Stated (paper and released code, for Stable Diffusion): the target with eta = 1 and the squared
error, on noise predictions; noised images of the *concept* prompt, sampled at guidance 3;
what is trained, by name: ``x`` cross-attention, ``x-strict`` its keys and values, ``u`` all other
linear and convolutional layers, and all; rate 1e-5, 1000 iterations, batch 1.

Inferred for a next-scale model: log-odds take the place of noise predictions (exact for every
symbol given the tokens before it; the product over scales drops a normaliser, as guidance does),
a history that of the noised image; ``prefix`` says whose. KL is the default: the square gives
symbols that are nearly certain most of the weight. ``u`` is self-attention and FFN of the blocks;
norms and AdaLN vectors stay, as norms do in the original. ``p``, the way of the pooled text, has no
counterpart in a U-Net: in Infinity the first token, AdaLN and the head read it, so ``x`` leaves it
open and ``x+p`` closes it. ``z_max`` bounds the target, whose log-odds grow with eta.

Deviates: one roll-out of each training pair by the frozen model, on the common roll-out and
training settings, instead of a new image for each iteration; the mean over scales is weighted
(``scales``).

The edit's notes record per scale how far the concept and its neutral prompt stay apart
(``leakage.py``). ESD does not aim at the neutral prompt, so these figures compare its variants; one
above 1 is no failure.
"""

from __future__ import annotations

import math
from dataclasses import dataclass, field, replace
from typing import Any

from torch import Tensor

from varbench.data.concept import EraseTarget
from varbench.errors import check_choice, check_least
from varbench.methods.base import Edit, TrainingContext
from varbench.methods.leakage import leakage
from varbench.methods.training.config import FineTuneConfig
from varbench.methods.training.loop import FineTuning
from varbench.methods.training.losses import ScaleWeights, steer_away, symbol_divergence
from varbench.methods.training.objective import DistillObjective
from varbench.methods.training.rollouts import PREFIXES, RolloutConfig, frozen_logits, pair_rollouts
from varbench.models.protocol import NextScaleModel

TARGETS = {
    "x": ("cross_attention",),
    "x-strict": ("cross_attention.kv",),
    "u": ("self_attention", "ffn"),
    "p": ("pooled_text",),
    "x+p": ("cross_attention", "pooled_text"),
    "all": ("all",),
}
"""Trained parts of the model by the name of the variant."""


def log_odds_distance(logits: Tensor, target: Tensor) -> Tensor:
    """Mean squared difference of the log-odds of all pairs of values, ``[B, L, D]``.

    For bits ``(z - z*)^2`` with z the log-odds; a common shift of a symbol's logits has no effect.
    """
    return 2 * (logits.float() - target.detach().float()).var(dim=-1)


LOSSES = {"kl": symbol_divergence, "mse": log_odds_distance}


@dataclass(frozen=True)
class EsdConfig:
    """Settings of ESD.

    Attributes:
        target: what is trained, a name of :data:`TARGETS`; it decides ``train.parts``.
        eta: how far the target lies beyond the unconditional prediction, away from the concept's.
        loss: ``kl`` or ``mse``.
        z_max: bound of the target's log-odds (see :func:`bounded`); 0 = none.
        prefix: whose roll-outs are the histories: ``concept``, ``neutral`` (VARE's auxiliary
            tokens), or ``mixed``, half of each.
        scales: weights of the scales.
    """

    target: str = "x"
    eta: float = 1.0
    loss: str = "kl"
    z_max: float = 8.0
    prefix: str = "concept"
    scales: ScaleWeights = field(default_factory=ScaleWeights)
    train: FineTuneConfig = field(default_factory=FineTuneConfig)
    rollout: RolloutConfig = field(default_factory=RolloutConfig)

    def __post_init__(self) -> None:
        self.rollout.check_untaught()
        check_choice("target", self.target, TARGETS)
        check_choice("loss", self.loss, LOSSES)
        check_choice("prefix", self.prefix, PREFIXES)
        check_least(-1, eta=self.eta)  # -1 is the concept itself
        if self.z_max < 0:
            raise ValueError(f"z_max must be positive, or 0 for none, got {self.z_max}")
        parts = TARGETS[self.target]
        if tuple(self.train.parts) not in (FineTuneConfig().parts, parts):
            raise ValueError(
                f"target={self.target} trains {', '.join(parts)}; set target, not train.parts"
            )
        # Records and the memory estimate read the trained parts from here.
        object.__setattr__(self, "train", replace(self.train, parts=parts))


def bounded(logits: Tensor, z_max: float) -> Tensor:
    """Logits whose likeliest value has log-odds of at most ``z_max`` against all others.

    No value is left further below the likeliest than ``z_max + ln(V - 1)``; for a bit this clamps
    its log-odds to plus or minus ``z_max``.
    """
    floor = logits.amax(dim=-1, keepdim=True) - z_max - math.log(logits.shape[-1] - 1)
    return logits.maximum(floor)


def esd_target(concept: Tensor, null: Tensor, eta: float, z_max: float) -> Tensor:
    """Target logits ``[B, L, D, V]`` from the frozen model's for the concept and for nothing."""
    target = steer_away(null.float(), concept.float(), eta)
    return bounded(target, z_max) if z_max else target


class Esd(FineTuning):
    """The ``esd`` baseline."""

    id = "esd"
    Config = EsdConfig

    def objective(
        self, model: NextScaleModel, concept: EraseTarget, config: EsdConfig, seed: int
    ) -> DistillObjective:
        """Roll-outs and targets of all pairs, from the still unedited model."""
        pairs = concept.pairs()
        text = model.encode([pair.concept for pair in pairs])
        rollout = pair_rollouts(model, pairs, config.rollout, seed, config.prefix)
        target = esd_target(
            frozen_logits(model, rollout, text),
            frozen_logits(model, rollout, model.null(text)),
            config.eta,
            config.z_max,
        )

        def loss(student: Tensor, target: Tensor) -> Tensor:
            return config.scales.mean(LOSSES[config.loss](student, target), rollout.schedule)

        return DistillObjective(model, text, rollout, target, loss)

    def erase(
        self, model: NextScaleModel, concept: EraseTarget, config: Any, context: TrainingContext
    ) -> Edit:
        edit = super().erase(model, concept, config, context)
        return replace(edit, notes=leakage(model, edit, concept.pairs(), context.seed))
