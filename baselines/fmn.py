"""Forget-Me-Not (Zhang et al., CVPR Workshops 2024): attention taken off the concept's tokens.

With A a cross-attention map ``[B, H, l, T]`` of one block at one scale, B images, H heads, l
visual tokens, T text rows, and C the concept's rows of a prompt:

``loss = mean over maps of ||A[..., C]||_2 / sqrt(B H l)
+ pool_weight ||A_pool[..., C]||_2 / sqrt(B H)``

on the frozen model's roll-outs of the concept prompts; A_pool is the attention of the query that
pools the text, where the model has one.

Stated (paper and released code, for Stable Diffusion): the norm of the attention probabilities on
the concept's tokens, over all cross-attention maps; images of the concept; the whole network is
trained; rate 2e-6, 35 steps.

Inferred for a next-scale model: a map per block and scale, as the U-Net has one per layer and
resolution; the frozen model's own roll-outs as images; the concept's tokens are those that its
neutral twin does not have, whatever the tokenizer; the pool, which the U-Net lacks and through
which the text reaches every block too.

Deviates: root mean squares over queries and the mean over maps, so that neither resolution nor
depth changes the scale; the optional textual inversion before is left out. Weak erasure is to be
expected: a text encoder that reads in both directions lets all rows know of the concept.
"""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass, field

import torch
from torch import Tensor

from varbench.baselines.token_alignment import concept_tokens
from varbench.data.concept import EraseTarget
from varbench.data.training_pairs import Pair
from varbench.errors import UserError, check_least
from varbench.methods.training.config import FineTuneConfig
from varbench.methods.training.loop import FineTuning
from varbench.methods.training.objective import Batch, RolloutObjective, Term
from varbench.methods.training.rollouts import RolloutConfig, pair_rollouts
from varbench.models.capabilities import HasTextAttention, HasTextSpaces, require
from varbench.models.protocol import Condition, NextScaleModel


@dataclass(frozen=True)
class FmnConfig:
    """Settings of Forget-Me-Not.

    Attributes:
        pool_weight: weight of the pooling query's attention; 0 leaves it out.
    """

    pool_weight: float = 1.0
    train: FineTuneConfig = field(default_factory=lambda: FineTuneConfig(parts=("all",)))
    rollout: RolloutConfig = field(default_factory=RolloutConfig)

    def __post_init__(self) -> None:
        self.rollout.check_untaught()
        check_least(0, pool_weight=self.pool_weight)
        if self.train.text_drop:
            raise ValueError("a dropped text has no tokens of the concept; set train.text_drop=0")


def concept_rows(texts: HasTextSpaces, pairs: Sequence[Pair]) -> list[list[int]]:
    """The concept's text rows in the concept prompt of every pair.

    Raises:
        UserError: a concept prompt only lacks what its neutral twin says.
    """
    sides = [[p.concept for p in pairs], [p.neutral for p in pairs]]
    tokens = zip(*(texts.text_tokens(side) for side in sides), strict=True)
    numbers = [concept_tokens(concept, neutral) for concept, neutral in tokens]
    for pair, rows in zip(pairs, numbers, strict=True):
        if not rows:
            raise UserError(
                f"fmn finds no token of the concept in {pair.concept!r}: all are in "
                f"{pair.neutral!r} too; reword the pair"
            )
    return numbers


def attention_on(shares: Tensor, rows: Sequence[Sequence[int]]) -> Tensor:
    """Root mean square over queries of the norm of some columns.

    Args:
        shares: attention probabilities ``[B, ..., T]``.
        rows: per image the numbers of its columns.

    Returns:
        Scalar between 0 and 1.
    """
    columns = [image[..., list(own)].flatten() for image, own in zip(shares, rows, strict=True)]
    norm: Tensor = torch.linalg.vector_norm(torch.cat(columns))
    return norm / math.sqrt(shares[..., 0].numel())


@dataclass
class FmnObjective(RolloutObjective):
    """One term: attention on the concept's rows, in all maps and in the pool."""

    text: Condition
    rows: Sequence[Sequence[int]]
    pool_weight: float

    def __post_init__(self) -> None:
        self.attention = require(self.model, HasTextAttention, "fmn").text_attention

    def term(self, name: str, batch: Batch) -> tuple[Term, dict[str, float]]:
        rows = [self.rows[i] for i in batch.rows]
        attention = self.attention(self.rollout.select(batch.rows), self.text.select(batch.rows))
        scales = list(self.rollout.schedule.slices())
        maps = [attention_on(b[:, :, scale], rows) for b in attention.cross for scale in scales]
        loss = torch.stack(maps).mean()
        notes = {"cross": float(loss.detach())}
        if attention.pooled is not None and self.pool_weight:
            pooled = attention_on(attention.pooled, rows)
            notes["pooled"] = float(pooled.detach())
            loss = loss + self.pool_weight * pooled
        return Term(name, loss), notes


class Fmn(FineTuning):
    """The ``fmn`` baseline."""

    id = "fmn"
    Config = FmnConfig

    def objective(
        self, model: NextScaleModel, concept: EraseTarget, config: FmnConfig, seed: int
    ) -> FmnObjective:
        require(model, HasTextAttention, self.id)
        pairs = concept.pairs()
        rows = concept_rows(require(model, HasTextSpaces, self.id), pairs)
        text = model.encode([pair.concept for pair in pairs])
        rollout = pair_rollouts(model, pairs, config.rollout, seed, "concept")
        return FmnObjective(model, rollout, text, rows, config.pool_weight)
