"""Auxiliary visual tokens: roll-outs of the frozen model under the neutral prompts.

VARE's core: both sides of the loss read the *same* visual history, the frozen model's roll-out
under the neutral prompt, sampled once and kept. "Auxiliary" means "taken from the other model's
roll-out instead of the model's own history"; nothing is appended to the sequence.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import torch
from torch import Tensor

from varbench.methods.base import PairLike
from varbench.models.base import Condition, NextScaleModel, Rollout, Sampling


@dataclass(frozen=True)
class RolloutConfig:
    """How the frozen model is sampled (the paper's figures: guidance 4, temperature 1).

    Attributes:
        guidance: weight of the prompt against the null condition.
        temperature: of the sampled logits; 1, not the lower value used at inference.
        top_p: per symbol.
        guided_teacher: keep guided instead of plain conditional logits as the teacher's. The
            released code does; the formula does not, and a guided teacher moves the model
            even where nothing is to be erased.
    """

    guidance: float = 4.0
    temperature: float = 1.0
    top_p: float = 0.97
    guided_teacher: bool = False


@dataclass(frozen=True)
class AuxiliaryTokens:
    """Everything that training on N pairs needs of the frozen model.

    Attributes:
        concept: condition of the N prompts with the concept.
        neutral: condition of the N prompts without it.
        rollout: the frozen model's roll-outs under the neutral prompts.
        teacher_logits: its logits ``[N, L, D, V]`` for the neutral prompts on these roll-outs.
    """

    concept: Condition
    neutral: Condition
    rollout: Rollout
    teacher_logits: Tensor


def roll_out(
    model: NextScaleModel,
    condition: Condition,
    keys: Sequence[tuple[str, int]],
    config: RolloutConfig,
    chunk: int = 10,
) -> Rollout:
    """Sample one roll-out per prompt, a few at a time so that memory stays flat."""
    sampling = Sampling(config.guidance, config.temperature, top_k=0, top_p=config.top_p)
    parts = []
    for start in range(0, len(keys), chunk):
        rows = list(range(start, min(start + chunk, len(keys))))
        some = [keys[i] for i in rows]
        parts.append(model.generate(condition.select(rows), some, sampling=sampling))
    return Rollout(
        torch.cat([p.tokens for p in parts]),
        torch.cat([p.inputs for p in parts]),
        parts[0].schedule,
    )


@torch.no_grad()
def auxiliary_tokens(
    model: NextScaleModel, pairs: Sequence[PairLike], config: RolloutConfig, seed: int
) -> AuxiliaryTokens:
    """Roll out the neutral prompt of every pair with the (still frozen) model.

    Args:
        model: unedited.
        pairs: training pairs.
        config: sampling settings.
        seed: with the pair's number it decides the sampled bits.
    """
    neutral = model.encode([pair.neutral for pair in pairs])
    keys = [(f"pair-{i}", seed) for i in range(len(pairs))]
    rollout = roll_out(model, neutral, keys, config)
    teacher = []
    for i in range(len(pairs)):
        one, text = rollout.select([i]), neutral.select([i])
        logits = model.logits(one, text)
        if config.guided_teacher:
            null = model.logits(one, model.null(text))
            logits = config.guidance * logits + (1 - config.guidance) * null
        teacher.append(logits)
    concept = model.encode([pair.concept for pair in pairs])
    return AuxiliaryTokens(concept, neutral, rollout, torch.cat(teacher))
