"""Naive fine-tuning and its controls: losses against loops, histories, and ascent's end."""

from __future__ import annotations

import math
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest
import torch

from tests.helpers import switti_tiny
from tests.helpers.by_hand import mean_cross_entropy, mean_divergence, symbols
from tests.helpers.tiny import TinyConcept, tiny_model
from tests.helpers.training import TRAIN, context
from varbench.baselines.naive import Naive, NaiveConfig, NaiveObjective
from varbench.methods.base import applied
from varbench.methods.registry import load_method
from varbench.methods.training.losses import filtered_cross_entropy
from varbench.methods.training.objective import Batch
from varbench.methods.training.rollouts import (
    RolloutConfig,
    auxiliary_tokens,
    pair_rollouts,
    sample_batch,
)
from varbench.models.protocol import NextScaleModel, Rollout

BOTH = pytest.mark.parametrize("build", [tiny_model, switti_tiny.tiny_model], ids=["bits", "index"])
PLAIN = RolloutConfig(guidance=1.0)
PAIRS = TinyConcept().pairs()


def erase(name: str, model: NextScaleModel, tmp_path: Path, **changes: Any) -> Any:
    method: Any = load_method(name)
    train = replace(TRAIN, **{"batch": 6, "rate": 3e-3} | changes)
    config = method.Config(train=train, rollout=PLAIN)
    return method.erase(model, TinyConcept(), config, context(tmp_path))


def sides(model: NextScaleModel, rollout: Rollout) -> tuple[torch.Tensor, torch.Tensor]:
    """Logits under the concept's and the neutral prompts."""
    with torch.no_grad():
        concept = model.logits(rollout, model.encode([p.concept for p in PAIRS]))
        return concept, model.logits(rollout, model.encode([p.neutral for p in PAIRS]))


@BOTH
@pytest.mark.parametrize("name", ["nft-anchor", "nft-distill", "nft-ascent"])
def test_the_first_loss_is_the_formula(build: Any, name: str, tmp_path: Path) -> None:
    edit = erase(name, build(), tmp_path, steps=1)
    model = build()
    side = "neutral" if name == "nft-anchor" else "concept"
    rollout = pair_rollouts(model, PAIRS, PLAIN, 0, side)
    concept, neutral = sides(model, rollout)
    expected = (
        mean_divergence(concept, neutral)
        if name == "nft-distill"
        else mean_cross_entropy(concept, rollout.tokens)
    )
    assert edit.log[0]["erase"] == pytest.approx(expected, rel=1e-4)


def test_anchor_is_svare_without_filter_and_preservation(tmp_path: Path) -> None:
    model = tiny_model()
    svare: Any = load_method("svare")
    train = replace(TRAIN, steps=3)
    config = svare.Config(alpha=0.0, preserve_weight=0.0, train=train, rollout=PLAIN)
    theirs = svare.erase(model, TinyConcept(), config, context(tmp_path))
    ours = erase("nft-anchor", model, tmp_path, steps=3, batch=train.batch, rate=train.rate)
    for name, value in ours.tensors.items():
        torch.testing.assert_close(value, theirs.tensors[name])
    rollout = pair_rollouts(model, PAIRS, PLAIN, 0)
    plain = float(filtered_cross_entropy(sides(model, rollout)[0], rollout.tokens, alpha=0.0))
    rows = [step["erase"] for step in erase("nft-anchor", model, tmp_path, steps=1).log]
    assert rows == [pytest.approx(plain, rel=1e-5)]


@BOTH
@pytest.mark.parametrize("name", ["nft-anchor", "nft-distill"])
def test_controls_lower_their_loss(build: Any, name: str, tmp_path: Path) -> None:
    log = erase(name, build(), tmp_path, steps=20).log
    assert log[-1]["erase"] < 0.8 * log[0]["erase"]


@BOTH
def test_ascent_unlearns_up_to_chance_and_no_further(build: Any, tmp_path: Path) -> None:
    model = build()
    rollout = pair_rollouts(model, PAIRS, PLAIN, 0, "concept")
    logits = sides(model, rollout)[0]
    chance = math.log(logits.shape[-1])
    assert mean_cross_entropy(logits, rollout.tokens) < 0.95 * chance
    edit = erase("nft-ascent", model, tmp_path, steps=40, rate=7e-4)
    losses = [step["erase"] for step in edit.log]
    reached = [step["at_chance"] for step in edit.log].index(1.0)
    assert 2 < reached < 30
    assert losses[1] > losses[0]
    assert losses[reached - 1] < chance <= losses[reached]
    # All pairs are in every batch: once at chance, no step is made, not even by Adam's moments.
    assert max(losses[reached:]) - min(losses[reached:]) < 1e-5
    assert all(step["norm"] == 0 for step in edit.log[reached:])
    with applied(model, edit):
        found = mean_cross_entropy(sides(model, rollout)[0], rollout.tokens)
    assert found == pytest.approx(losses[reached], rel=1e-4)


def test_a_target_without_teacher_refuses_a_guided_one() -> None:
    for name in ("nft-anchor", "nft-ascent"):
        method: Any = load_method(name)
        with pytest.raises(ValueError, match="set it to false"):
            method.Config(rollout=RolloutConfig(guided_teacher=True))
    assert load_method("nft-distill").Config(rollout=RolloutConfig(guided_teacher=True))


@BOTH
def test_naive_compares_two_sides_on_their_own_histories(build: Any, tmp_path: Path) -> None:
    """Squared difference of probabilities, halved over the values of a symbol."""
    log = (
        Naive()
        .erase(
            build(),
            TinyConcept(),
            NaiveConfig(train=replace(TRAIN, steps=1, batch=6)),
            context(tmp_path),
        )
        .log
    )
    model = build()
    keys = [(f"own-{i}-0", 0) for i in range(len(PAIRS))]
    texts = model.encode([p.concept for p in PAIRS])
    student = sides(model, sample_batch(model, texts, keys, RolloutConfig()))[0]
    teacher = sides(model, pair_rollouts(model, PAIRS, RolloutConfig(), 0))[1]
    rows = list(zip(symbols(student), symbols(teacher), strict=True))
    total = sum((a - b) ** 2 for p, q in rows for a, b in zip(p, q, strict=True))
    assert log[0]["erase"] == pytest.approx(total / len(rows) / 2, rel=1e-4)


def test_naive_samples_its_histories_again_from_the_model_in_training() -> None:
    model = tiny_model()
    frozen = auxiliary_tokens(model, PAIRS, RolloutConfig(), 0)
    objective = NaiveObjective(model, frozen, NaiveConfig(refresh=5), 0)
    first = objective.own_history(Batch(0, [2, 0], [False, False]))
    with torch.no_grad():
        for p in model.parameters("ffn").values():
            p.mul_(1.5)
    kept = objective.own_history(Batch(4, [0, 2], [False, False]))
    assert torch.equal(kept.tokens, first.tokens[[1, 0]])
    later = objective.own_history(Batch(5, [2, 0], [False, False]))
    fresh = sample_batch(model, frozen.concept.select([2, 0]), [("own-2-1", 0), ("own-0-1", 0)],
                     RolloutConfig())  # fmt: skip
    assert torch.equal(later.tokens, fresh.tokens)
    assert not torch.equal(later.tokens, first.tokens)
    with pytest.raises(ValueError, match="refresh must divide 50"):
        NaiveConfig(refresh=30)
