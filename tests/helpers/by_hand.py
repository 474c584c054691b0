"""Losses between distributions of symbols as loops over single numbers, in double precision."""

from __future__ import annotations

import math

from torch import Tensor


def probabilities(z: list[float]) -> list[float]:
    """Softmax of the logits of one symbol."""
    total = sum(math.exp(v) for v in z)
    return [math.exp(v) / total for v in z]


def symbols(logits: Tensor) -> list[list[float]]:
    """Probabilities of every symbol, one after the other."""
    rows: list[list[float]] = logits.detach().double().flatten(0, 2).tolist()
    return [probabilities(z) for z in rows]


def mean_divergence(student: Tensor, target: Tensor) -> float:
    """KL(target || student), mean over symbols."""
    pairs = list(zip(symbols(target), symbols(student), strict=True))
    return sum(
        p * math.log(p / q) for wanted, own in pairs for p, q in zip(wanted, own, strict=True)
    ) / len(pairs)


def mean_cross_entropy(student: Tensor, tokens: Tensor) -> float:
    """Negative log-likelihood of sampled symbols, mean over symbols."""
    found = list(zip(symbols(student), tokens.flatten().tolist(), strict=True))
    return -sum(math.log(own[symbol]) for own, symbol in found) / len(found)
