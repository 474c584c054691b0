"""Auxiliary visual tokens: roll-outs of the frozen model, sampled once and shared by both sides.

VARE's core: both sides of the loss read the *same* visual history, the frozen model's roll-out
under the neutral prompt. "Auxiliary" means "taken from the other model's roll-out instead of the
model's own history"; nothing is appended to the sequence. Methods that steer away from the
concept instead of towards its replacement may want the roll-outs of the concept prompt.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import torch
from torch import Tensor

from varbench.data.training_pairs import Pair
from varbench.errors import check_choice
from varbench.models.protocol import Condition, Guidance, NextScaleModel, Rollout, Sampling

PREFIXES = ("neutral", "concept", "mixed")


@dataclass(frozen=True)
class RolloutConfig:
    """Sampling of the frozen model (the paper's figures: guidance 4, temperature 1).

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

    def check_untaught(self) -> None:
        """Raise ValueError if the teacher is to be guided; for methods without one."""
        if self.guided_teacher:
            raise ValueError("rollout.guided_teacher does nothing here; set it to false")


@dataclass(frozen=True)
class AuxiliaryTokens:
    """The frozen model's outputs that training on N pairs needs.

    Attributes:
        concept: condition of the N prompts with the concept.
        neutral: condition of the N prompts without it.
        rollout: the frozen model's roll-outs.
        teacher_logits: its logits ``[N, L, D, V]`` for the neutral prompts on these roll-outs.
    """

    concept: Condition
    neutral: Condition
    rollout: Rollout
    teacher_logits: Tensor


def sample_batch(
    model: NextScaleModel,
    condition: Condition,
    keys: Sequence[tuple[str, int]],
    config: RolloutConfig,
) -> Rollout:
    """Sample one roll-out per prompt with the model as it is."""
    sampling = Sampling(config.guidance, config.temperature, top_k=0, top_p=config.top_p)
    return model.generate(condition, keys, sampling=sampling)


def pair_rollouts(
    model: NextScaleModel,
    pairs: Sequence[Pair],
    config: RolloutConfig,
    seed: int,
    prefix: str = "neutral",
) -> Rollout:
    """Roll out one side of every pair with the frozen model.

    Args:
        model: unedited.
        pairs: training pairs.
        config: sampling settings.
        seed: decides the sampled symbols together with the pair's number, whichever the side.
        prefix: the side: ``neutral``, ``concept``, or ``mixed`` (every second pair's concept).
    """
    check_choice("prefix", prefix, PREFIXES)
    of_concept = [prefix == "concept" or (prefix == "mixed" and i % 2) for i in range(len(pairs))]
    texts = [p.concept if c else p.neutral for p, c in zip(pairs, of_concept, strict=True)]
    keys = [(f"pair-{i}", seed) for i in range(len(pairs))]
    return sample_batch(model, model.encode(texts), keys, config)


@torch.no_grad()
def frozen_logits(
    model: NextScaleModel, rollout: Rollout, condition: Condition, guidance: Guidance | None = None
) -> Tensor:
    """Logits ``[N, L, D, V]`` of the model as it is, image by image, without gradient.

    Args:
        model: unedited.
        rollout: N histories.
        condition: one prompt per history.
        guidance: combine its branches; None takes the prompt's own logits.
    """
    logits = []
    for i in range(len(rollout)):
        history, text = rollout.select([i]), condition.select([i])
        if guidance is None:
            logits.append(model.logits(history, text))
            continue
        branches = [model.logits(history, branch) for branch in guidance.branches(model, text)]
        scales = enumerate(rollout.schedule.slices())
        combined = [guidance.combine(k, [b[:, rows] for b in branches]) for k, rows in scales]
        logits.append(torch.cat(combined, dim=1))
    return torch.cat(logits)


def auxiliary_tokens(
    model: NextScaleModel,
    pairs: Sequence[Pair],
    config: RolloutConfig,
    seed: int,
    prefix: str = "neutral",
) -> AuxiliaryTokens:
    """Roll-outs of all pairs, see :func:`pair_rollouts`, with the frozen model's logits on them."""
    neutral = model.encode([pair.neutral for pair in pairs])
    rollout = pair_rollouts(model, pairs, config, seed, prefix)
    guidance = model.guidance(config.guidance) if config.guided_teacher else None
    teacher = frozen_logits(model, rollout, neutral, guidance)
    concept = model.encode([pair.concept for pair in pairs])
    return AuxiliaryTokens(concept, neutral, rollout, teacher)
