"""The losses against loops written from the equations, and their invariants."""

from __future__ import annotations

import math

import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st

from varbench.methods.training.losses import (
    filtered_cross_entropy,
    preservation_loss,
    probability_distance,
    steer_away,
    symbol_cross_entropy,
    symbol_divergence,
    symbol_entropy,
    token_filter,
)


def sample(seed: int, values: int = 2, scale: float = 2.0) -> tuple[torch.Tensor, torch.Tensor]:
    generator = torch.Generator().manual_seed(seed)
    logits = torch.randn(2, 5, 8, values, generator=generator) * scale
    return logits, torch.randint(values, (2, 5, 8), generator=generator)


def fce_by_hand(logits: torch.Tensor, tokens: torch.Tensor, alpha: float, gamma: float) -> float:
    total = 0.0
    batch, length, symbols, _ = logits.shape
    for n in range(batch):
        for t in range(length):
            losses = []
            for d in range(symbols):
                z = logits[n, t, d].double().tolist()
                norm = math.log(sum(math.exp(v) for v in z))
                losses.append(norm - z[int(tokens[n, t, d])])
            if sum(x > gamma for x in losses) / symbols >= alpha:
                total += sum(losses) / symbols
    return total / (batch * length)


@pytest.mark.parametrize("alpha", [0.0, 0.25, 0.5, 0.75, 1.0])
@pytest.mark.parametrize("values", [2, 5])
def test_filtered_cross_entropy_equals_the_loop(alpha: float, values: int) -> None:
    logits, tokens = sample(3, values)
    ours = filtered_cross_entropy(logits, tokens, alpha=alpha)
    assert float(ours) == pytest.approx(
        fce_by_hand(logits, tokens, alpha, math.log(values)), rel=1e-5
    )


def test_alpha_zero_is_plain_cross_entropy() -> None:
    logits, tokens = sample(1)
    plain = torch.nn.functional.cross_entropy(logits.flatten(0, 2), tokens.flatten())
    torch.testing.assert_close(filtered_cross_entropy(logits, tokens, alpha=0), plain)


def test_right_tokens_cost_nothing() -> None:
    logits, _ = sample(2)
    assert filtered_cross_entropy(logits, logits.argmax(-1), alpha=0.01) == 0


@given(seed=st.integers(0, 10_000), alpha=st.floats(0, 1))
@settings(max_examples=40, deadline=None)
def test_a_higher_alpha_never_keeps_more(seed: int, alpha: float) -> None:
    logits, tokens = sample(seed)
    loose = token_filter(logits, tokens, alpha=alpha * 0.7)
    strict = token_filter(logits, tokens, alpha=alpha)
    assert bool((strict <= loose).all())


def test_boundary_share_is_kept() -> None:
    # 8 bits, exactly 2 wrong: share 0.25 reaches alpha = 0.25 (the code's >=).
    tokens = torch.zeros(1, 1, 8, dtype=torch.long)
    logits = torch.zeros(1, 1, 8, 2)
    logits[..., 0] = 1.0
    logits[0, 0, :2, 1] = 3.0
    assert bool(token_filter(logits, tokens, alpha=0.25))
    assert not bool(token_filter(logits, tokens, alpha=0.26))


def test_no_gradient_through_the_filter_and_all_bits_of_a_kept_token_count() -> None:
    tokens = torch.zeros(1, 2, 4, dtype=torch.long)
    logits = torch.zeros(1, 2, 4, 2)
    logits[0, 0, :, 0] = 2.0  # token 0 is right: filtered out
    logits[0, 1, :2, 1] = 2.0  # token 1: two bits wrong, two right
    logits[0, 1, 2:, 0] = 2.0
    logits.requires_grad_(True)
    filtered_cross_entropy(logits, tokens).backward()
    assert logits.grad is not None
    assert bool((logits.grad[0, 0] == 0).all())
    assert bool((logits.grad[0, 1].abs().sum(-1) > 0).all())


def test_chance_level_is_not_wrong() -> None:
    # -log(1/2) is not above gamma = ln 2, in float32 too.
    tokens = torch.zeros(1, 1, 4, dtype=torch.long)
    assert not bool(token_filter(torch.zeros(1, 1, 4, 2), tokens, alpha=0.25))


def test_preservation_is_half_the_mean_kl_of_bits() -> None:
    student, _ = sample(4)
    teacher, _ = sample(5)
    p, q = teacher.softmax(-1), student.softmax(-1)
    kl = (p * (p.log() - q.log())).sum(-1).mean()
    torch.testing.assert_close(preservation_loss(student, teacher), kl / 2)
    assert float(preservation_loss(teacher, teacher)) == pytest.approx(0, abs=1e-7)
    shifted = teacher + torch.randn(2, 5, 8, 1)  # a common shift changes no probability
    assert float(preservation_loss(shifted, teacher)) == pytest.approx(0, abs=1e-6)


def test_preservation_has_no_gradient_at_the_teacher_nor_into_it() -> None:
    teacher = sample(6)[0].requires_grad_(True)
    student = teacher.detach().clone().requires_grad_(True)
    preservation_loss(student, teacher).backward()
    assert student.grad is not None
    assert float(student.grad.abs().max()) < 1e-8
    assert teacher.grad is None


def test_probability_distance_for_bits_is_squared_difference_of_p1() -> None:
    a, _ = sample(7)
    b, _ = sample(8)
    by_hand = (a.softmax(-1)[..., 1] - b.softmax(-1)[..., 1]).square().mean()
    torch.testing.assert_close(probability_distance(a, b), by_hand)


def test_shapes_that_do_not_fit_are_refused() -> None:
    logits, tokens = sample(0)
    with pytest.raises(ValueError, match="B, L, D"):
        symbol_cross_entropy(logits, tokens[:, :4])
    with pytest.raises(ValueError, match="differ"):
        preservation_loss(logits, logits[:1])


@pytest.mark.parametrize("values", [2, 5])
def test_divergence_and_entropy_of_every_symbol_equal_the_loop(values: int) -> None:
    student, target = sample(9, values)[0], sample(10, values)[0]
    divergence, entropy = symbol_divergence(student, target), symbol_entropy(student)
    assert divergence.shape == entropy.shape == (2, 5, 8)
    for place in ((0, 0, 0), (1, 3, 7), (0, 4, 2)):
        q, p = (z[place].double().softmax(-1).tolist() for z in (student, target))
        kl = sum(b * math.log(b / a) for a, b in zip(q, p, strict=True))
        assert float(divergence[place]) == pytest.approx(kl, rel=1e-4)
        assert float(entropy[place]) == pytest.approx(-sum(a * math.log(a) for a in q), rel=1e-4)
    flat = torch.zeros(1, 1, 1, values)
    assert float(symbol_entropy(flat)) == pytest.approx(math.log(values))


@pytest.mark.parametrize("values", [2, 5])
@pytest.mark.parametrize("eta", [-1.0, 0.0, 2.0])
def test_steering_away_divides_the_concept_out(values: int, eta: float) -> None:
    """``P* ~ P_reference^(1 + eta) / P_concept^eta``, whatever the logits' common shift."""
    reference, concept = sample(11, values)[0], sample(12, values)[0]
    powers = reference.softmax(-1) ** (1 + eta) / concept.softmax(-1) ** eta
    expected = powers / powers.sum(-1, keepdim=True)
    shifted = reference + torch.randn(2, 5, 8, 1)
    for first in (reference, shifted):
        found = steer_away(first, concept, eta).softmax(-1)
        torch.testing.assert_close(found, expected, atol=1e-5, rtol=1e-4)
