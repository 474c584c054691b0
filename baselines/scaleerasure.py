"""ScaleErasure (arXiv 2606.29282, ICML 2026): guidance only where an image shows the concept.

Four branches: the prompt (p), nothing (u), a safe prompt (s) and the concept itself (n); z are
their logits, G the model's own guidance:

``plain = G(z_p, z_u)``, ``steered = G(z_s, z_u) - penalty (z_n - z_u)``

A symbol gets ``steered`` in place of ``plain`` where three things hold:

scale:  it lies in a window of the scales;
token:  relevance >= threshold: its cross-attention queries q of the prompt's branch are compared
        with the mean key k_c of the concept, of the safe prompt and of other things,
        ``softmax_c(q k_c / (|k_c| sqrt(width)))``; the concept's share, mean over heads and blocks;
symbol: the concept agrees with the prompt, ``max_v |z_n - z_p| < delta growth^scale`` on logits
        less their mean over v.

Stated (released code, for Infinity-2B and 8B): all of the above and the figures: scales 2 to 7 of
13, blocks 1 to 5, threshold 0.332 (just below an even share), penalty 3, delta 0.1 on logits over
temperature 0.5 and divided by 0.5 once more at each scale, which on plain logits is 0.1 times
2^scale; the text of the other things; guidance 3.

Inferred: the window is a share of the scales, and growth is counted in thirteenths of the
schedule, so that a schedule of another length is treated alike. Blocks that a model lacks are
left out.

Deviates: the code compares each of a bit's two logits by itself, although their common shift has
no effect; here a symbol is chosen as a whole, and for a bit with opposite logits it is the same.
It keys on the first image of a batch; here every image has its own relevance. It samples
greedily at temperature 0.5, here as for every other method. The safe prompt is the concept's
replacement, or "a picture" where nothing takes its place (styles), and serves as the reference
too, where the code has two wordings. All four branches are computed at all scales.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, field, replace

import torch
import torch.nn.functional as F
from torch import Tensor

from varbench.baselines.token_alignment import concept_prompt
from varbench.data.concept import EraseTarget
from varbench.errors import check_least, check_positive
from varbench.methods.training.losses import centred
from varbench.models.capabilities import HasBlocks, HasTextAttention, TextKeys, require
from varbench.models.protocol import CapabilityError, Condition, Guidance, NextScaleModel

PLAIN = "a picture"
STATED_SCALES = 13
"""Number of scales of the schedule that the figures were stated for."""


@dataclass(frozen=True)
class ScaleErasureConfig:
    """Settings of ScaleErasure.

    Attributes:
        safe: prompt of the safe branch; empty = the concept's replacement, else ``PLAIN``.
        others: other contents of images, the third reference of token relevance.
        penalty: weight of the steering away from the concept (lambda).
        threshold: the concept's share of a token from which on it is steered.
        delta: distance of logits up to which concept and prompt agree, at the first scale.
        growth: factor on ``delta`` per thirteenth of the schedule.
        first, end: scales k of K with ``first <= k / K < end`` are steered.
        blocks: numbers of the blocks whose queries are compared.
    """

    safe: str = ""
    others: str = "background, object, animal, tree, sky, architecture"
    penalty: float = 3.0
    threshold: float = 0.332
    delta: float = 0.1
    growth: float = 2.0
    first: float = 2 / STATED_SCALES
    end: float = 8 / STATED_SCALES
    blocks: tuple[int, ...] = (1, 2, 3, 4, 5)

    def __post_init__(self) -> None:
        if not 0 <= self.first < self.end <= 1:
            raise ValueError(f"need 0 <= first < end <= 1, got {self.first} and {self.end}")
        check_least(0, penalty=self.penalty, delta=self.delta)
        check_positive(growth=self.growth)
        if not self.blocks or min(self.blocks) < 0:
            raise ValueError(f"blocks must be numbers from 0 on, got {self.blocks}")


def steered_scales(count: int, config: ScaleErasureConfig) -> range:
    """The scales of a schedule of ``count`` scales that are steered."""
    inside = [k for k in range(count) if config.first <= k / count < config.end]
    return range(inside[0], inside[-1] + 1) if inside else range(0)


def reference_keys(prompts: TextKeys) -> list[Tensor]:
    """Per block a unit key ``[R, H, C]`` for each of R prompts, along the mean of its rows."""
    mask = prompts.mask[:, None, :, None].float()
    means = [(keys.float() * mask).sum(2) / mask.sum(2) for keys in prompts.keys]
    return [F.normalize(mean, dim=-1) for mean in means]


def relevance(queries: Sequence[Tensor], references: Sequence[Tensor]) -> Tensor:
    """Share ``[B, l]`` of the first reference in each token.

    Args:
        queries: per block ``[B, H, l, C]``.
        references: per block ``[R, H, C]``, see :func:`reference_keys`.
    """
    shares = []
    for q_BHlC, k_RHC in zip(queries, references, strict=True):
        scores = torch.einsum("bhlc,rhc->bhlr", q_BHlC.float(), k_RHC) / q_BHlC.shape[-1] ** 0.5
        shares.append(scores.softmax(dim=-1)[..., 0].mean(dim=1))
    return torch.stack(shares).mean(dim=0)


def distance(a: Tensor, b: Tensor) -> Tensor:
    """Largest difference of two ``[B, l, D, V]`` less their means over V, ``[B, l, D]``."""
    return centred(a - b).abs().amax(dim=-1)


@dataclass
class SelectiveGuidance:
    """The model's own guidance, steered at selected scales, tokens and symbols.

    Attributes:
        guidance: the model's guidance at the weight that it is sampled with.
        safe, concept: condition of one prompt each.
        references: per block, see :func:`reference_keys`; the concept's first.
        scales: number of scales of the model's schedule.
        config: settings, whose ``blocks`` the model all has.
        relevant: mask ``[B, l]`` of the tokens of the last scale that show the concept.
    """

    guidance: Guidance
    safe: Condition
    concept: Condition
    references: Sequence[Tensor]
    scales: int
    config: ScaleErasureConfig
    relevant: Tensor = field(default_factory=lambda: torch.empty(0))

    def __post_init__(self) -> None:
        self.query_blocks = tuple(self.config.blocks)
        self.window = steered_scales(self.scales, self.config)

    def branches(self, model: NextScaleModel, condition: Condition) -> list[Condition]:
        rows = [0] * len(condition)
        null = model.null(condition)
        return [condition, null, self.safe.select(rows), self.concept.select(rows)]

    def see(self, scale: int, queries: list[Tensor]) -> None:
        """Keep the mask ``[B, l]`` of tokens that show the concept, for :meth:`combine`."""
        if scale in self.window:
            of_prompt = [q.chunk(4)[0] for q in queries]
            self.relevant = relevance(of_prompt, self.references) >= self.config.threshold

    def combine(self, scale: int, logits: list[Tensor]) -> Tensor:
        prompt, null, safe, concept = logits
        plain = self.guidance.combine(scale, [prompt, null])
        if scale not in self.window:
            return plain
        steered = self.guidance.combine(scale, [safe, null]) - self.config.penalty * (
            concept - null
        )
        delta = self.config.delta * self.config.growth ** (scale * STATED_SCALES / self.scales)
        chosen = self.relevant[..., None] & (distance(concept, prompt) < delta)
        return torch.where(chosen[..., None], steered, plain)


class ScaleErasure:
    """The ``scaleerasure`` method."""

    id = "scaleerasure"
    version = 1
    Config = ScaleErasureConfig

    def guidance(
        self, model: NextScaleModel, concept: EraseTarget, config: ScaleErasureConfig, weight: float
    ) -> Guidance:
        text_keys = require(model, HasTextAttention, self.id).text_keys
        depth = len(require(model, HasBlocks, self.id).blocks())
        blocks = tuple(number for number in config.blocks if number < depth)
        scales = len(model.schedule.scales)
        if not blocks:
            raise CapabilityError(
                f"{model.name} has blocks 0 to {depth - 1} only; set method.blocks"
            )
        if not steered_scales(scales, config):
            raise CapabilityError(
                f"none of {model.name}'s {scales} scales lies in the window; "
                "set method.first and method.end"
            )
        safe = config.safe or ", ".join(concept.replacement) or PLAIN
        prompts = model.encode([concept_prompt(concept), safe, config.others])
        return SelectiveGuidance(
            guidance=model.guidance(weight),
            safe=prompts.select([1]),
            concept=prompts.select([0]),
            references=reference_keys(text_keys(prompts, blocks)),
            scales=scales,
            config=replace(config, blocks=blocks),
        )
