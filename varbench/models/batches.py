"""Generation in batches: what a family's ``generate`` does around its own loop over scales."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import Any

import torch

from varbench.models.base import (
    Condition,
    Guidance,
    NextScaleModel,
    Rollout,
    Sampling,
    at_once,
)

Keys = Sequence[tuple[str, int]]
"""(prompt id, picture seed) per picture."""

SampleBatch = Callable[[list[Any], Keys, Sampling, Guidance], Rollout]
"""Conditions of all guidance branches, keys, settings, how branches are combined -> roll-out."""


def generate_in_batches(
    model: NextScaleModel,
    condition: Condition,
    keys: Keys,
    sampling: Sampling | None,
    guidance: Guidance | None,
    sample: SampleBatch,
) -> Rollout:
    """Sample one picture per row of ``condition``, at most ``model.batch`` at once.

    Args:
        model: gives the settings that are None.
        condition, keys, sampling, guidance: see :meth:`NextScaleModel.generate`.
        sample: the family's loop over the scales for one batch.

    Raises:
        ValueError: not as many keys as prompts.
    """
    if len(keys) != len(condition):
        raise ValueError(f"{len(condition)} prompts but {len(keys)} random keys")
    sampling = sampling or model.sampling
    guidance = guidance or model.guidance(sampling.guidance)
    branches = guidance.branches(model, condition)
    parts = [
        sample([b.select(rows) for b in branches], [keys[i] for i in rows], sampling, guidance)
        for rows in at_once(len(keys), model.batch)
    ]
    tokens, inputs = torch.cat([p.tokens for p in parts]), torch.cat([p.inputs for p in parts])
    return Rollout(tokens, inputs, model.schedule)
