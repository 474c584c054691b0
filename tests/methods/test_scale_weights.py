"""Weights of scales: closed forms, and the weighted mean against a loop."""

from __future__ import annotations

import pytest
import torch

from varbench.methods.training.losses import SCHEMES, ScaleWeights
from varbench.models.protocol import Schedule

SQUARE = Schedule(((1, 1), (2, 2), (4, 4)))
WIDE = Schedule(((1, 1), (1, 4), (2, 8)))


@pytest.mark.parametrize(
    ("weights", "expected"),
    [
        (ScaleWeights("token"), [1 / 21, 4 / 21, 16 / 21]),
        (ScaleWeights("side"), [1 / 7, 2 / 7, 4 / 7]),
        (ScaleWeights("uniform"), [1 / 3, 1 / 3, 1 / 3]),
        (ScaleWeights("first_m"), [1, 0, 0]),
        (ScaleWeights("first_m", 2), [1 / 2, 1 / 2, 0]),
        (ScaleWeights("first_m", 9), [1 / 3, 1 / 3, 1 / 3]),
    ],
    ids=str,
)
def test_weights_by_hand(weights: ScaleWeights, expected: list[float]) -> None:
    """A grid that is not square counts by the side of the square of its area."""
    assert weights.of(SQUARE) == pytest.approx(expected)
    assert weights.of(WIDE) == pytest.approx(expected)


@pytest.mark.parametrize("scheme", SCHEMES)
def test_the_mean_is_the_loop(scheme: str) -> None:
    weights = ScaleWeights(scheme, 2)
    values = torch.randn(3, 21, 5, generator=torch.Generator().manual_seed(1), dtype=torch.double)
    total = 0.0
    for w, (start, stop) in zip(weights.of(SQUARE), ((0, 1), (1, 5), (5, 21)), strict=True):
        of_scale = [
            float(values[b, t, d]) for b in range(3) for t in range(start, stop) for d in range(5)
        ]
        total += w * sum(of_scale) / len(of_scale)
    assert float(weights.mean(values, SQUARE)) == pytest.approx(total, rel=1e-12)
    ones = torch.ones(1, 21, 1)
    assert float(weights.mean(ones, SQUARE)) == pytest.approx(1)


def test_tokens_alike_is_the_plain_mean_and_first_m_sees_no_more() -> None:
    values = torch.randn(2, 21, 4, generator=torch.Generator().manual_seed(2), requires_grad=True)
    torch.testing.assert_close(ScaleWeights("token").mean(values, SQUARE), values.mean())
    ScaleWeights("first_m", 2).mean(values, SQUARE).backward()
    assert values.grad is not None
    assert bool((values.grad[:, 5:] == 0).all())
    assert bool((values.grad[:, :5] > 0).all())


def test_bad_settings_are_refused() -> None:
    with pytest.raises(ValueError, match="token, side, uniform, first_m"):
        ScaleWeights("last")
    with pytest.raises(ValueError, match="at least 1"):
        ScaleWeights("first_m", 0)
