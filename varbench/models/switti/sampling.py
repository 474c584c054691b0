"""Sampling Switti scale by scale with one keyed random number per token."""

from __future__ import annotations

from collections.abc import Sequence

import torch
from torch import Tensor

from varbench.models.common.keyed_random import uniforms
from varbench.models.common.sampling import draw, filter_probabilities
from varbench.models.protocol import Guidance, Rollout, Sampling, Schedule
from varbench.models.switti.tokenizer import Accumulator, Codebook
from varbench.models.switti.transformer import SwittiTransformer, TextState


@torch.no_grad()
def sample(
    transformer: SwittiTransformer,
    codebook: Codebook,
    text: TextState,
    schedule: Schedule,
    keys: Sequence[tuple[str, int]],
    sampling: Sampling,
    guidance: Guidance,
    given: Tensor | None = None,
) -> tuple[Rollout, Tensor]:
    """Generate tokens scale by scale.

    Args:
        transformer: the model.
        codebook: turns sampled tokens into the next scale's input.
        text: all guidance branches, one after the other, each for the same B prompts.
        schedule: the grids.
        keys: (prompt id, image seed) per image.
        sampling: filters and temperature; its guidance weight is not used here.
        guidance: combines the branches' logits.
        given: tokens ``[B, l, 1]`` of the first scales, which stand in for drawn ones.

    Returns:
        The roll-out and the guided logits ``[B, L, 1, V]`` that it was drawn from.
    """
    rows, batch = len(text.pooled_BC), len(keys)
    branches = rows // batch
    cache = transformer.new_cache(rows, schedule)
    sums = Accumulator(codebook, schedule)
    tokens, traced, finite = [], [], []
    inputs = [text.pooled_BC.new_zeros(batch, 0, codebook.embedding.embedding_dim)]
    known = 0 if given is None else given.shape[1]
    for scale, (length, place) in enumerate(zip(schedule.lengths, schedule.slices(), strict=True)):
        x = None
        if scale:
            inputs.append(sums.next_input())
            x = inputs[-1].repeat(branches, 1, 1)
        logits = transformer.step(x, text, schedule, scale, cache).float()
        guided = guidance.combine(scale, list(logits.chunk(branches))) / sampling.temperature
        if given is not None and place.stop <= known:
            symbols = given[:, place]  # the step before has filled the cache all the same
        else:
            numbers = uniforms(keys, scale, length, 1, guided.device)
            chances = filter_probabilities(guided, sampling.top_k, sampling.top_p)
            finite.append(chances.isfinite().flatten(1).all(dim=1))
            symbols = draw(chances, numbers)
        sums.add(symbols)
        tokens.append(symbols)
        traced.append(guided)
    sound = torch.stack(finite).all(dim=0) if finite else None
    rollout = Rollout(torch.cat(tokens, dim=1), torch.cat(inputs, dim=1), schedule, sound)
    return rollout, torch.cat(traced, dim=1)
