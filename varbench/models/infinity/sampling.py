"""Sampling Infinity bit by bit, with a key/value cache."""

from __future__ import annotations

from collections.abc import Sequence

import torch
from torch import Tensor

from varbench.models.common.conditions import concatenate
from varbench.models.common.sampling import sample_scales
from varbench.models.infinity.quantiser import Layout, TokenSum
from varbench.models.infinity.transformer import InfinityTransformer, TextState
from varbench.models.protocol import Guidance, Rollout, Sampling


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
) -> tuple[Rollout, list[Tensor]]:
    """Generate bits; arguments and result as for :func:`sample_scales`.

    Args:
        texts: one text state per guidance branch, each for the same B prompts.
        layout: schedule and patchify.
    """
    text = concatenate(texts)
    return sample_scales(
        transformer,
        text,
        transformer.new_cache(text, layout.schedule),
        TokenSum(layout, transformer.config.bits),
        layout.schedule,
        keys,
        sampling,
        guidance,
        branches=len(texts),
        temperatures=temperatures,
        given=given,
    )
