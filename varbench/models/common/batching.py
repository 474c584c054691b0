"""Generation in batches, around a family's loop over scales."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import Any

import torch
from torch import Tensor

from varbench.models.protocol import (
    Condition,
    Guidance,
    NextScaleModel,
    Rollout,
    Sampling,
    at_once,
)

Keys = Sequence[tuple[str, int]]
"""(prompt id, image seed) per image."""

SampleBatch = Callable[[list[Any], Keys, Sampling, Guidance, Tensor | None], Rollout]
"""Conditions of all guidance branches, keys, settings, how branches are combined, and the given
symbols ``[B, l, D]`` of the first scales, if any -> roll-out."""


def batch_of(config: Any) -> int:
    """Images at once by a model config; in strict mode one, so that no batch can change a bit."""
    return 1 if config.strict else int(config.batch)


def generate_in_batches(
    model: NextScaleModel,
    condition: Condition,
    keys: Keys,
    sampling: Sampling | None,
    guidance: Guidance | None,
    sample: SampleBatch,
    given: Tensor | None = None,
) -> Rollout:
    """Sample one image per row of ``condition``, at most ``model.batch`` at once.

    Args:
        model: gives the settings that are None.
        condition, keys, sampling, guidance: see :meth:`NextScaleModel.generate`.
        sample: the family's loop over the scales for one batch.
        given: symbols of the first scales that stand in for drawn ones, see :func:`given_symbols`.

    Raises:
        ValueError: not as many keys as prompts.
    """
    if len(keys) != len(condition):
        raise ValueError(f"{len(condition)} prompts but {len(keys)} random keys")
    sampling = sampling or model.sampling
    guidance = guidance or model.guidance(sampling.guidance)
    branches = guidance.branches(model, condition)
    parts = [
        sample(
            [b.select(rows) for b in branches],
            [keys[i] for i in rows],
            sampling,
            guidance,
            None if given is None else given[rows],
        )
        for rows in at_once(len(keys), model.batch)
    ]
    tokens, inputs = torch.cat([p.tokens for p in parts]), torch.cat([p.inputs for p in parts])
    finite = [p.finite for p in parts if p.finite is not None]
    return Rollout(tokens, inputs, model.schedule, torch.cat(finite) if finite else None)


def given_symbols(model: NextScaleModel, prefix: Rollout, scales: int, count: int) -> Tensor:
    """The symbols ``[B, l, D]`` of a roll-out's first scales, for a model to continue from.

    Args:
        model: whose schedule begins like the roll-out's.
        prefix: one image per row; of its scales only the first are read.
        scales: how many are given, 0 to all.
        count: images to make.

    Raises:
        ValueError: the roll-out lacks these scales or these images.
    """
    grids, given = model.schedule.scales[:scales], prefix.schedule.scales[:scales]
    if not 0 <= scales <= len(model.schedule.scales) or given != grids:
        raise ValueError(f"{scales} scales of {model.name} are {grids}; the prefix has {given}")
    if len(prefix) != count:
        raise ValueError(f"{count} images to make from a prefix of {len(prefix)}")
    return prefix.tokens[:, : sum(model.schedule.lengths[:scales])]
