"""Losses on per-symbol logits: filtered cross entropy, preservation, VARE's distance.

Shapes: logits ``[B, L, D, V]``, tokens ``[B, L, D]``; B images, L tokens over all scales,
D symbols per token, V values per symbol (bits: V = 2).

Weights of the scales in a loss: ``sum_k w_k mean(values of scale k)``, ``sum_k w_k = 1``.

Fine scales have most of the tokens (at 1024 px the last one 39 %, the first four together 0.5 %),
so a plain mean over tokens trains texture and hardly sees where composition is decided.
"""

from __future__ import annotations

import math
from dataclasses import dataclass

import torch
import torch.nn.functional as F
from torch import Tensor

from varbench.errors import check_choice, check_least
from varbench.models.protocol import Schedule

LN2 = math.log(2)
SCHEMES = ("token", "side", "uniform", "first_m")


def _check(logits: Tensor, tokens: Tensor) -> None:
    if logits.ndim != 4 or logits.shape[:3] != tokens.shape:
        raise ValueError(
            f"logits must be [B, L, D, V] for tokens [B, L, D]; got {tuple(logits.shape)} "
            f"and {tuple(tokens.shape)}"
        )


def centred(logits: Tensor) -> Tensor:
    """Logits ``[..., V]`` less their mean over the values of a symbol, which has no effect."""
    return logits - logits.mean(dim=-1, keepdim=True)


def symbol_cross_entropy(logits: Tensor, tokens: Tensor) -> Tensor:
    """Negative log-likelihood of every symbol, ``[B, L, D]``, in nats."""
    _check(logits, tokens)
    log_p = logits.float().log_softmax(dim=-1)
    return -log_p.gather(-1, tokens.long().unsqueeze(-1)).squeeze(-1)


def token_filter(logits: Tensor, tokens: Tensor, *, alpha: float, gamma: float = LN2) -> Tensor:
    """Mask of the tokens that are wrong enough to be trained, ``[B, L]`` bool, without gradient.

    A symbol is wrong where its negative log-likelihood exceeds ``gamma`` nats for every bit that
    it carries, log2(V) of them (at ln 2: predicted worse than chance); a token is kept where at
    least the share ``alpha`` of its symbols is wrong (S-VARE, section on the filtered cross
    entropy).
    """
    with torch.no_grad():
        wrong = symbol_cross_entropy(logits, tokens) > gamma * math.log2(logits.shape[-1])
        return wrong.float().mean(dim=-1) >= alpha


def filtered_cross_entropy(
    logits: Tensor, tokens: Tensor, *, alpha: float = 0.25, gamma: float = LN2
) -> Tensor:
    """S-VARE's erasing loss: cross entropy to the neutral roll-out, wrong tokens only.

    ``(1/B) sum_n (1/L) sum_t F[n,t] (1/D) sum_d l[n,t,d]`` with l the negative log-likelihood
    and F the :func:`token_filter`. In a kept token all symbols count; the normaliser is L, not
    the number kept, so the loss switches itself off as tokens become right.

    Args:
        logits: student's, for the concept prompt on the neutral roll-out's inputs.
        tokens: the neutral roll-out's sampled symbols.
        alpha: share of wrong symbols from which on a token is kept; 0 keeps all.
        gamma: negative log-likelihood above which a symbol is wrong, nats per bit.

    Returns:
        Scalar.

    Raises:
        ValueError: shapes do not fit.
    """
    keep = token_filter(logits, tokens, alpha=alpha, gamma=gamma)
    return (symbol_cross_entropy(logits, tokens).mean(dim=-1) * keep).mean()


def symbol_divergence(student_logits: Tensor, target_logits: Tensor) -> Tensor:
    """KL(target || student) of every symbol, ``[B, L, D]``, nats; the target has no gradient.

    Raises:
        ValueError: shapes differ.
    """
    if student_logits.shape != target_logits.shape:
        raise ValueError(
            f"shapes of student {tuple(student_logits.shape)} and teacher "
            f"{tuple(target_logits.shape)} differ"
        )
    log_q = student_logits.float().log_softmax(dim=-1)
    log_p = target_logits.detach().float().log_softmax(dim=-1)
    return F.kl_div(log_q, log_p, reduction="none", log_target=True).sum(dim=-1)


def symbol_entropy(logits: Tensor) -> Tensor:
    """Entropy of every symbol, ``[B, L, D]``, nats, between 0 and ln V."""
    log_p = logits.float().log_softmax(dim=-1)
    return -(log_p.exp() * log_p).sum(dim=-1)


def steer_away(reference: Tensor, concept: Tensor, eta: float) -> Tensor:
    """``reference - eta (concept - reference)``: a prediction from which a concept is taken.

    On log-softmaxes, or on logits whatever their common shift, it gives
    ``P* ~ P_reference^(1 + eta) / P_concept^eta`` for every symbol (ESD's target, classifier-free
    guidance turned round). Other predictions, such as hidden states, are steered alike.
    """
    return reference - eta * (concept - reference)


def preservation_loss(student_logits: Tensor, teacher_logits: Tensor) -> Tensor:
    """S-VARE's preservation loss: half the mean KL(teacher || student) per symbol.

    The half is the released code's, which averages over both logits of a bit. For more values the
    same average would shrink with V, so here the half stays.

    Args:
        student_logits: for the neutral prompt on the neutral roll-out's inputs.
        teacher_logits: the frozen model's for the same input, without gradient.

    Returns:
        Scalar, >= 0; 0 exactly where both distributions agree.
    """
    return symbol_divergence(student_logits, teacher_logits).mean() / 2


def probability_distance(logits: Tensor, target_logits: Tensor) -> Tensor:
    """VARE's distance (paper's Eq. 6 and 7): mean squared difference of probabilities.

    Summed over the V values and halved, so that for bits it is the squared difference of
    P(bit = 1). The mean runs over B, L and D; the target carries no gradient.
    """
    p = logits.float().softmax(dim=-1)
    q = target_logits.detach().float().softmax(dim=-1)
    return (p - q).square().sum(dim=-1).mean() / 2


@dataclass(frozen=True)
class ScaleWeights:
    """Weights of the scales.

    Attributes:
        scheme: ``token``: equal weight per token, so that a scale counts by its area; ``side``: one
            over the side of the grid per token, so that a scale counts by its side (Infinity's
            pre-training); ``uniform``: equal weight per scale; ``first_m``: equal weight for the
            first ``m`` scales, none for the others.
        m: see ``first_m``; all scales of a shorter schedule count.
    """

    scheme: str = "uniform"
    m: int = 1

    def __post_init__(self) -> None:
        check_choice("scheme", self.scheme, SCHEMES)
        check_least(1, m=self.m)

    def of(self, schedule: Schedule) -> list[float]:
        """One weight per scale, coarse to fine; they add up to 1."""
        areas = schedule.lengths
        weights = {
            "token": [float(area) for area in areas],
            "side": [math.sqrt(area) for area in areas],
            "uniform": [1.0] * len(areas),
            "first_m": [float(k < self.m) for k in range(len(areas))],
        }[self.scheme]
        return [w / sum(weights) for w in weights]

    def mean(self, values_BLD: Tensor, schedule: Schedule) -> Tensor:
        """The weighted mean (a scalar) of one value per symbol, images counting alike.

        Args:
            values_BLD: over the tokens of all scales.
            schedule: whose grids the tokens fill.
        """
        pairs = zip(self.of(schedule), schedule.slices(), strict=True)
        return torch.stack([w * values_BLD[:, rows].mean() for w, rows in pairs if w]).sum()
