"""Sampling Switti token by token; only Switti AR keeps a key/value cache."""

from __future__ import annotations

from collections.abc import Sequence

import torch
from torch import Tensor

from varbench.models.common.sampling import sample_scales
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
) -> tuple[Rollout, list[Tensor]]:
    """Generate tokens; arguments and result as for :func:`sample_scales`."""
    return sample_scales(
        transformer,
        text,
        transformer.new_cache(text, schedule),
        Accumulator(codebook, schedule),
        schedule,
        keys,
        sampling,
        guidance,
        branches=len(text.pooled_BC) // len(keys),
        given=given,
    )
