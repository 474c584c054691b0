"""Autoregressive sampling over scales with a key/value cache and per-bit keyed random numbers."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import torch
from torch import Tensor

from varbench.models.common.keyed_random import uniforms
from varbench.models.common.sampling import draw, filter_probabilities
from varbench.models.infinity.quantiser import Accumulator, Layout
from varbench.models.infinity.transformer import InfinityTransformer, TextState
from varbench.models.protocol import Guidance, Rollout, Sampling, Schedule


@dataclass(frozen=True)
class Trace:
    """What :func:`sample` records when asked: guided logits and inputs per scale."""

    logits: list[Tensor]
    inputs: list[Tensor]
    codes: Tensor


@torch.no_grad()
def sample(
    transformer: InfinityTransformer,
    texts: Sequence[TextState],
    layout: Layout,
    keys: Sequence[tuple[str, int]],
    sampling: Sampling,
    guidance: Guidance,
    temperatures: Sequence[float] | None = None,
    given: Tensor | None = None,
) -> tuple[Rollout, Trace]:
    """Generate bits scale by scale.

    Args:
        transformer: the model.
        texts: one text state per guidance branch, each for the same B prompts.
        layout: schedule and patchify.
        keys: (prompt id, image seed) per image.
        sampling: filters and temperature.
        guidance: combines the branches' logits.
        temperatures: per-scale temperature, instead of ``sampling.temperature``.
        given: bits ``[B, l, d]`` of the first scales, which stand in for drawn ones.

    Returns:
        The roll-out and its trace.
    """
    schedule: Schedule = layout.schedule
    batch = len(keys)
    text = _concatenate(texts)
    cache = transformer.new_cache(text, schedule)
    sums = Accumulator(layout)
    tokens, inputs, traced, finite = [], [], [], []
    known = 0 if given is None else given.shape[1]
    for scale, (length, rows) in enumerate(zip(schedule.lengths, schedule.slices(), strict=True)):
        x = None
        if scale:
            x = layout.to_tokens([sums.next_input()])
            inputs.append(x)
            x = x.repeat(len(texts), 1, 1)
        logits = transformer.step(x, text, schedule, scale, cache).float()
        guided = guidance.combine(scale, list(logits.chunk(len(texts))))
        guided = guided / (temperatures[scale] if temperatures else sampling.temperature)
        if given is not None and rows.stop <= known:
            bits = given[:, rows]  # the step before has filled caches and guidance all the same
        else:
            numbers = uniforms(keys, scale, length, guided.shape[2], guided.device)
            chances = filter_probabilities(guided, sampling.top_k, sampling.top_p)
            finite.append(chances.isfinite().flatten(1).all(dim=1))
            bits = draw(chances, numbers)
        sums.add(layout.to_map(bits, scale))
        tokens.append(bits)
        traced.append(guided)
    assert sums.total is not None
    all_inputs = torch.cat(inputs, dim=1) if inputs else tokens[0].new_zeros(batch, 0, 1).float()
    sound = torch.stack(finite).all(dim=0) if finite else None
    rollout = Rollout(torch.cat(tokens, dim=1), all_inputs, schedule, sound)
    return rollout, Trace(traced, inputs, sums.total)


def _concatenate(texts: Sequence[TextState]) -> TextState:
    if len(texts) == 1:
        return texts[0]
    return TextState(
        torch.cat([t.memory_BTD for t in texts]),
        torch.cat([t.mask_BT for t in texts]),
        torch.cat([t.pooled_BD for t in texts]),
        torch.cat([t.ada_B16D for t in texts]),
    )
