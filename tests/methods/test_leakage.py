"""The leak: against loops over single log-odds, and at its ends."""

from __future__ import annotations

import pytest
import torch

from tests.helpers.switti_tiny import tiny_model as switti_model
from tests.helpers.tiny import TinyConcept, TinyPair, tiny_model
from varbench.methods.base import Edit, applied
from varbench.methods.leakage import PAIRS, leakage
from varbench.methods.training.rollouts import RolloutConfig, pair_rollouts

SCALES = (slice(0, 1), slice(1, 5), slice(5, 21))


def noise(name: str, model: object) -> Edit:
    own = model.weights().state_dict()[name]  # type: ignore[attr-defined]
    generator = torch.Generator().manual_seed(3)
    return Edit({name: own + 0.3 * torch.randn(own.shape, generator=generator)})


def test_leak_by_brute_force() -> None:
    model, pairs = tiny_model(), TinyConcept().pairs()
    edit = noise("blocks.0.ca.mat_kv.weight", model)
    shares = leakage(model, edit, pairs, seed=5)
    rollout = pair_rollouts(model, pairs, RolloutConfig(), 5, "neutral")
    concept = model.encode([p.concept for p in pairs])
    neutral = model.encode([p.neutral for p in pairs])

    def log_odds() -> list[list[list[list[float]]]]:
        with torch.no_grad():
            every = [model.logits(rollout, t) for t in (concept, neutral, model.null(concept))]
        return [(z[..., 1] - z[..., 0]).tolist() for z in every]

    old = log_odds()
    with applied(model, edit):
        new = log_odds()

    def mean_gap(a: list[list[list[float]]], b: list[list[list[float]]], scale: slice) -> float:
        gaps = [
            abs(x - y)
            for one, other in zip(a, b, strict=True)
            for token, twin in zip(one[scale], other[scale], strict=True)
            for x, y in zip(token, twin, strict=True)
        ]
        return sum(gaps) / len(gaps)

    assert list(shares) == [f"{kind}_{k}" for k in range(3) for kind in ("leak", "null_drift")]
    for k, scale in enumerate(SCALES):
        before = mean_gap(old[0], old[1], scale)
        assert shares[f"leak_{k}"] == pytest.approx(mean_gap(new[0], new[1], scale) / before, 1e-4)
        drift = mean_gap(new[2], old[2], scale) / before
        assert shares[f"null_drift_{k}"] == pytest.approx(drift, 1e-4)
        assert abs(shares[f"leak_{k}"] - 1) > 1e-3 and drift > 1e-3


@pytest.mark.parametrize("model", [tiny_model(), switti_model()], ids=["bits", "indices"])
def test_no_edit_leaks_all_and_drifts_nowhere(model: object) -> None:
    shares = leakage(model, Edit({}), TinyConcept().pairs(), seed=0)  # type: ignore[arg-type]
    assert all(v == (1.0 if k.startswith("leak") else 0.0) for k, v in shares.items())


def test_a_deaf_model_leaks_nothing() -> None:
    model = tiny_model()
    own = model.weights().state_dict()
    deaf = Edit({name: torch.zeros_like(own[name]) for name in own if "mat_kv" in name})
    shares = leakage(model, deaf, TinyConcept().pairs(), seed=0)
    assert all(shares[f"leak_{k}"] == pytest.approx(0.0, abs=1e-5) for k in range(3))


def test_equal_sides_leak_nothing_and_only_the_first_pairs_count() -> None:
    model = tiny_model()
    edit = noise("blocks.1.ca.mat_kv.weight", model)
    same = leakage(model, edit, [TinyPair("a cat", "a cat")], seed=0)
    assert all(same[f"leak_{k}"] == 0.0 for k in range(3))
    pairs = [*TinyConcept().pairs(), TinyPair("red", "blue"), TinyPair("red hat", "blue hat")]
    assert len(pairs) == PAIRS
    assert leakage(model, edit, [*pairs, TinyPair("x", "y")], 0) == leakage(model, edit, pairs, 0)
