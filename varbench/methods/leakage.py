"""Leakage: the share of a concept that still reaches the logits after an edit, scale by scale.

A method that edits cross-attention alone leaves other paths open by which the text gets in (in
Infinity the pooled text: first token, AdaLN, head). On one shared history per pair,

``leak_k = mean |z_new(concept) - z_new(neutral)| / mean |z_old(concept) - z_old(neutral)|``

over the symbols of scale k, with z the logits less their mean over the values of a symbol (for
bits half the log-odds, and the half cancels). 1: the edit did not bring the two prompts together;
0: they cannot be told apart. ``null_drift_k`` is ``mean |z_new(null) - z_old(null)|`` over the
same denominator: what the edit did to the unconditional branch of guidance.
"""

from __future__ import annotations

from collections.abc import Sequence

import torch
from torch import Tensor

from varbench.data.training_pairs import Pair
from varbench.methods.base import Edit, applied
from varbench.methods.training.losses import centred
from varbench.methods.training.rollouts import RolloutConfig, frozen_logits, pair_rollouts
from varbench.models.protocol import Condition, NextScaleModel, Rollout

PAIRS = 8
"""Pairs used: enough to tell 0.1 from 0.2, at a small part of any training's cost."""


def leakage(
    model: NextScaleModel, edit: Edit, pairs: Sequence[Pair], seed: int
) -> dict[str, float]:
    """``leak_k`` and ``null_drift_k`` for every scale k, for an edit's notes.

    Args:
        model: unedited.
        edit: the edit to measure.
        pairs: the first :data:`PAIRS` are used; histories are the base model's roll-outs of
            their neutral sides.
        seed: decides the roll-outs.
    """
    used = pairs[:PAIRS]
    rollout = pair_rollouts(model, used, RolloutConfig(), seed)
    concept = model.encode([pair.concept for pair in used])
    texts = [concept, model.encode([pair.neutral for pair in used]), model.null(concept)]
    old = _centred(model, rollout, texts)
    with applied(model, edit):
        new = _centred(model, rollout, texts)
    notes = {}
    for k, rows in enumerate(rollout.schedule.slices()):
        before = _gap(old[0][:, rows], old[1][:, rows]) or 1.0  # equal before: nothing can leak
        notes[f"leak_{k}"] = _gap(new[0][:, rows], new[1][:, rows]) / before
        notes[f"null_drift_{k}"] = _gap(new[2][:, rows], old[2][:, rows]) / before
    return notes


def _centred(model: NextScaleModel, rollout: Rollout, texts: Sequence[Condition]) -> list[Tensor]:
    return [centred(frozen_logits(model, rollout, text).float()) for text in texts]


def _gap(a: Tensor, b: Tensor) -> float:
    return float(torch.mean((a - b).abs()))
