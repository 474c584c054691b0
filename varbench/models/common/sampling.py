"""From logits to symbols: filters, and a draw that depends on given random numbers alone."""

from __future__ import annotations

import torch
from torch import Tensor


def filter_probabilities(logits: Tensor, top_k: int, top_p: float) -> Tensor:
    """Probabilities ``[..., V]`` after top-k, then top-p, on the last dimension.

    Top-p drops the least likely values whose probabilities add up to at most 1 - p; the best
    value always stays. ``top_k = 0`` and ``top_p`` in {0, 1} switch a filter off.
    """
    if 0 < top_k < logits.shape[-1]:
        weakest = logits.topk(top_k, dim=-1).values[..., -1:]
        logits = logits.masked_fill(logits < weakest, -torch.inf)
    if 0 < top_p < 1:
        ordered, order = logits.sort(dim=-1)
        drop = ordered.softmax(dim=-1).cumsum(dim=-1) <= 1 - top_p
        drop[..., -1] = False
        logits = logits.masked_fill(drop.scatter(-1, order, drop), -torch.inf)
    return logits.softmax(dim=-1)


def draw(probabilities: Tensor, numbers: Tensor) -> Tensor:
    """Inverse-CDF draw: ``[B, l, D, V]`` probabilities and ``[B, l, D]`` uniforms -> symbols.

    For bits this is 1[u < P(bit = 1)]: the flip rate between two models is then the total
    variation between them, the least that any coupling allows.
    """
    if probabilities.shape[-1] == 2:
        return (numbers < probabilities[..., 1]).to(torch.uint8)
    below = probabilities.cumsum(dim=-1) <= numbers[..., None]
    # A sum that rounds to less than 1 must not yield a value that was filtered out.
    trailing = (probabilities.flip(-1) > 0).to(torch.int64).argmax(dim=-1)
    return below.sum(dim=-1).minimum(probabilities.shape[-1] - 1 - trailing)
