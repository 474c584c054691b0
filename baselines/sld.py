"""SLD, safe latent diffusion (Schramowski et al., CVPR 2023), at the scales of a next-scale model.

Three branches at every scale: the prompt (p), nothing (u) and the concept (s); z are their logits
less the mean over the values of a symbol, products and comparisons are per value:

``mu = min(1, scale |z_p - z_s|)`` where ``z_p - z_s < threshold``, else 0
``gamma = mu (z_s - z_u) + momentum nu``
``guided = z_u + w (z_p - gamma - z_u)`` from scale ``warmup`` on, before it without gamma
``nu = decay nu + (1 - decay) gamma`` for the next scale

Stated (paper and its pipeline, for Stable Diffusion): the equations, on noise predictions; four
settings of warm-up steps, scale, threshold, momentum and decay from weak (15, 20, 0, 0, 0) over
medium (10, 1000, 0.01, 0.3, 0.4) and strong (7, 2000, 0.025, 0.5, 0.7) to maximal (0, 5000, 1,
0.5, 0.7); one list of unsafe concepts as the safety prompt.

Inferred for a next-scale model: scales take the place of denoising steps, so nu is resized
(bilinear) from one grid to the next; logits take that of noise predictions. Less their mean they
are a bit's log-odds halved, with either sign: the threshold, which asks for a sign, then treats a
bit's two values alike. The rule always holds for the value that the concept favours, and for both
where prompt and concept nearly agree; so a bit's log-odds feel at least half of gamma.

Deviates: ``scale`` and ``threshold`` are rescaled to logits, of order one where noise predictions
differ by hundredths; they are start values. Momentum and decay are the medium setting's. No
warm-up: the first scales fix what an image shows. The safety prompt is the erased concept.
"""

from __future__ import annotations

from dataclasses import dataclass, field

import torch
import torch.nn.functional as F
from torch import Tensor

from varbench.baselines.token_alignment import concept_condition
from varbench.data.concept import EraseTarget
from varbench.errors import check_least
from varbench.methods.training.losses import centred
from varbench.models.protocol import Condition, Guidance, NextScaleModel, Schedule


@dataclass(frozen=True)
class SldConfig:
    """Settings of SLD.

    Attributes:
        prompt: the safety prompt; empty = the concept's words and synonyms.
        scale: strength of the steering per difference of logits (s_S); 0 = plain guidance.
        threshold: differences of logits below it are steered (lambda).
        momentum: weight of the momentum nu (s_m).
        decay: share of nu that the next scale keeps (beta).
        warmup: number of first scales that are not steered (delta); momentum builds up meanwhile.
    """

    prompt: str = ""
    scale: float = 5.0
    threshold: float = 0.1
    momentum: float = 0.3
    decay: float = 0.4
    warmup: int = 0

    def __post_init__(self) -> None:
        check_least(0, scale=self.scale, momentum=self.momentum, warmup=self.warmup)
        if not 0 <= self.decay <= 1:
            raise ValueError(f"decay is a share between 0 and 1, got {self.decay}")


def resized(values_BlDV: Tensor, before: tuple[int, int], after: tuple[int, int]) -> Tensor:
    """Numbers per token, resized from one grid to another, ``[B, l', D, V]``, bilinear."""
    maps = values_BlDV.flatten(2).transpose(1, 2).unflatten(2, before)
    maps = F.interpolate(maps, after, mode="bilinear", align_corners=False)
    tokens: Tensor = maps.flatten(2).transpose(1, 2)
    return tokens.unflatten(2, values_BlDV.shape[2:])  # type: ignore[no-any-return]


@dataclass
class SafeGuidance:
    """The model's own guidance with the prompt's logits steered away from the concept.

    Attributes:
        guidance: the model's guidance at the weight that it is sampled with.
        concept: condition of one prompt.
        schedule: the grids that are sampled.
        config: settings.
        nu: momentum of the last scale, ``[B, l, D, V]``.
    """

    guidance: Guidance
    concept: Condition
    schedule: Schedule
    config: SldConfig
    nu: Tensor = field(default_factory=lambda: torch.empty(0))

    def branches(self, model: NextScaleModel, condition: Condition) -> list[Condition]:
        return [condition, model.null(condition), self.concept.select([0] * len(condition))]

    def combine(self, scale: int, logits: list[Tensor]) -> Tensor:
        prompt, null, _ = logits
        gamma = self.steering(scale, *(centred(z.float()) for z in logits))
        if scale < self.config.warmup:
            return self.guidance.combine(scale, [prompt, null])
        return self.guidance.combine(scale, [prompt - gamma, null])

    def steering(self, scale: int, prompt: Tensor, null: Tensor, concept: Tensor) -> Tensor:
        """Gamma of one scale ``[B, l, D, V]`` from centred logits; updates the momentum."""
        config = self.config
        if scale:
            nu = resized(self.nu, *self.schedule.scales[scale - 1 : scale + 1])
        else:
            nu = torch.zeros_like(prompt)
        gap = prompt - concept
        mu = torch.where(gap < config.threshold, (config.scale * gap.abs()).clamp(max=1), 0)
        gamma = mu * (concept - null) + config.momentum * nu
        self.nu = config.decay * nu + (1 - config.decay) * gamma
        return gamma


class Sld:
    """The ``sld`` baseline."""

    id = "sld"
    version = 1
    Config = SldConfig

    def guidance(
        self, model: NextScaleModel, concept: EraseTarget, config: SldConfig, weight: float
    ) -> Guidance:
        safety = concept_condition(model, concept, config.prompt)
        return SafeGuidance(model.guidance(weight), safety, model.schedule, config)
