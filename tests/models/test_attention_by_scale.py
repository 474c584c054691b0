"""One attention call per scale equals one call with the mask of the scales, causal or not."""

from __future__ import annotations

import pytest
import torch
from torch import Tensor

from varbench.models.common.layers import attend_by_scale

LENGTHS = (1, 4, 9, 2)


def dense(q: Tensor, k: Tensor, v: Tensor, causal: bool, scale: float | None) -> Tensor:
    """Softmax over all keys, those of other scales masked out."""
    level = torch.cat([torch.full((n,), i) for i, n in enumerate(LENGTHS)])
    visible = level[:, None] >= level if causal else level[:, None] == level
    logits = q @ k.transpose(-1, -2) * (scale or q.shape[-1] ** -0.5)
    out = logits.masked_fill(~visible[-q.shape[2] :], -torch.inf).softmax(-1) @ v
    return out.transpose(1, 2).flatten(2)


@pytest.mark.parametrize("scale", [None, 1.0, 0.3])
@pytest.mark.parametrize("causal", [True, False])
def test_values_and_gradients_are_those_of_the_dense_mask(
    causal: bool, scale: float | None
) -> None:
    torch.manual_seed(0)
    inputs = [torch.randn(2, 3, sum(LENGTHS), 8, requires_grad=True) for _ in range(3)]
    q, k, v = inputs
    actual = attend_by_scale(q, k, v, LENGTHS, causal=causal, scale=scale)
    expected = dense(q, k, v, causal, scale)
    torch.testing.assert_close(actual, expected, atol=1e-5, rtol=0)
    weights = torch.randn_like(expected)
    mine, theirs = (torch.autograd.grad((o * weights).sum(), inputs) for o in (actual, expected))
    for a, b in zip(mine, theirs, strict=True):
        torch.testing.assert_close(a, b, atol=1e-5, rtol=0)


@pytest.mark.parametrize("causal", [True, False])
def test_earlier_keys_in_front_belong_to_earlier_scales(causal: bool) -> None:
    """The last two scales alone, with the keys of all scales, as sampling with a cache has it."""
    torch.manual_seed(1)
    q, k, v = torch.randn(3, 1, 2, sum(LENGTHS), 8)
    late = sum(LENGTHS[2:])
    actual = attend_by_scale(q[:, :, -late:], k, v, LENGTHS[2:], causal=causal)
    torch.testing.assert_close(actual, dense(q, k, v, causal, 1.0)[:, -late:], atol=1e-5, rtol=0)
