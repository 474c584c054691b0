"""Forget-Me-Not: the loss against loops, the concept's tokens, and where attention goes."""

from __future__ import annotations

import math
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest
import torch

from tests.helpers import switti_tiny
from tests.helpers.tiny import TinyConcept, TinyPair, tiny_model
from tests.helpers.training import TRAIN, context
from varbench.baselines.fmn import Fmn, FmnConfig, FmnObjective, attention_on
from varbench.baselines.token_alignment import concept_tokens
from varbench.errors import UserError
from varbench.methods.base import applied
from varbench.methods.training.config import FineTuneConfig
from varbench.methods.training.objective import Batch
from varbench.methods.training.rollouts import RolloutConfig, pair_rollouts
from varbench.models.capabilities import TextAttention
from varbench.models.infinity.model import InfinityModel
from varbench.models.protocol import CapabilityError

PAIRS = TinyConcept().pairs()
RED = 1
"""The concept's token in "a red cat"."""


def config(steps: int, **changes: Any) -> FmnConfig:
    own = FmnConfig(**changes)
    return replace(own, train=replace(own.train, steps=steps, batch=6, rate=3e-3))


def watched(model: InfinityModel) -> TextAttention:
    rollout = pair_rollouts(model, PAIRS, RolloutConfig(), 0, "concept")
    with torch.no_grad():
        return model.text_attention(rollout, model.encode([p.concept for p in PAIRS]))


@pytest.mark.parametrize(
    ("concept", "neutral", "own"),
    [
        ("a red cat </s>", "a blue cat </s>", [1]),
        ("an image by van gogh at night </s>", "an image by monet at night </s>", [3, 4]),
        ("a nude woman </s>", "a woman </s>", [1]),
        ("nude </s>", "</s>", [0]),
        ("red and red cats </s>", "blue and green cats </s>", [0, 2]),
        ("a cat </s>", "a blue cat </s>", []),
    ],
)
def test_the_concepts_tokens_are_those_its_twin_lacks(
    concept: str, neutral: str, own: list[int]
) -> None:
    assert concept_tokens(concept.split(), neutral.split()) == own


def test_attention_on_columns_is_a_root_mean_square_over_queries() -> None:
    shares = torch.rand(2, 3, 4, 5, generator=torch.Generator().manual_seed(0))
    rows = [[1], [0, 3]]
    total = sum(
        float(shares[b, h, q, t]) ** 2
        for b in range(2) for h in range(3) for q in range(4) for t in rows[b]
    )  # fmt: skip
    assert float(attention_on(shares, rows)) == pytest.approx(math.sqrt(total / 24), rel=1e-5)
    everything = torch.zeros(1, 2, 3, 4)
    everything[..., 2] = 1
    assert float(attention_on(everything, [[2]])) == pytest.approx(1)


def test_no_attention_left_has_no_gradient_left() -> None:
    """The norm's slope at 0 is not defined; training must not end in it."""
    shares = torch.zeros(1, 2, 3, requires_grad=True)
    attention_on(shares, [[1]]).backward()
    assert shares.grad is not None
    assert not shares.grad.any()


def test_the_first_loss_is_the_formula(tmp_path: Path) -> None:
    log = (
        Fmn().erase(tiny_model(), TinyConcept(), config(1, pool_weight=0.7), context(tmp_path)).log
    )
    attention = watched(tiny_model())
    maps = []
    for block in attention.cross:
        for first, last in ((0, 1), (1, 5), (5, 21)):  # 1x1, 2x2, 4x4
            attended = block[:, :, first:last, RED].flatten().tolist()
            maps.append(math.sqrt(sum(v**2 for v in attended) / len(attended)))
    assert attention.pooled is not None
    attended = attention.pooled[..., RED].flatten().tolist()
    pooled = math.sqrt(sum(v**2 for v in attended) / len(attended))
    assert log[0]["cross"] == pytest.approx(sum(maps) / len(maps), rel=1e-4)
    assert log[0]["pooled"] == pytest.approx(pooled, rel=1e-4)
    assert log[0]["erase"] == pytest.approx(sum(maps) / len(maps) + 0.7 * pooled, rel=1e-4)


def test_attention_leaves_the_concept_and_the_model_comes_back(tmp_path: Path) -> None:
    model = tiny_model()
    before = {k: v.clone() for k, v in model.weights().state_dict().items()}
    old = watched(model)
    edit = Fmn().erase(model, TinyConcept(), config(25), context(tmp_path))
    assert edit.log[-1]["erase"] < 0.5 * edit.log[0]["erase"]
    assert all(torch.equal(v, before[k]) for k, v in model.weights().state_dict().items())
    with applied(model, edit):
        new = watched(model)
    assert old.pooled is not None and new.pooled is not None
    for was, now in zip([*old.cross, old.pooled], [*new.cross, new.pooled], strict=True):
        assert float(now[..., RED].mean()) < 0.5 * float(was[..., RED].mean())
        torch.testing.assert_close(now.sum(-1), torch.ones_like(now[..., 0]))


def test_the_pool_stays_where_its_weight_is_zero(tmp_path: Path) -> None:
    """Training what pools the text only matters with the pool's own loss, or through AdaLN."""
    model = tiny_model()
    parts = ("pooled_text",)
    logs = [
        Fmn()
        .erase(
            model,
            TinyConcept(),
            FmnConfig(pool_weight=weight, train=replace(TRAIN, steps=15, parts=parts)),
            context(tmp_path),
        )
        .log
        for weight in (0.0, 1.0)
    ]
    assert "pooled" not in logs[0][0]
    assert logs[1][-1]["pooled"] < 0.9 * logs[1][0]["pooled"]


def test_recomputed_blocks_have_the_same_gradient() -> None:
    """Queries are taken out of the middle of blocks that checkpointing runs twice."""
    gradients = []
    for checkpointing in (False, True):
        model = tiny_model()
        model.execution = replace(model.execution, checkpointing=checkpointing)
        text = model.encode([p.concept for p in PAIRS])
        rollout = pair_rollouts(model, PAIRS, RolloutConfig(), 0, "concept")
        objective = FmnObjective(model, rollout, text, [[RED]] * len(PAIRS), 1.0)
        parameters = list(model.parameters("cross_attention").values())
        for p in model.weights().parameters():
            p.requires_grad_(True)
        loss = objective.term("erase", Batch(0, [0, 3], [False, False]))[0].value
        gradients.append(torch.autograd.grad(loss, parameters, allow_unused=True))
    for plain, again in zip(*gradients, strict=True):
        assert (plain is None) == (again is None)
        if plain is not None:
            torch.testing.assert_close(plain, again)


def test_a_model_that_shows_no_attention_is_refused(tmp_path: Path) -> None:
    with pytest.raises(CapabilityError, match="fmn needs a model that offers HasTextAttention"):
        Fmn().erase(switti_tiny.tiny_model(), TinyConcept(), config(1), context(tmp_path))


def test_a_pair_without_a_token_of_the_concept_is_refused(tmp_path: Path) -> None:
    class Lacking(TinyConcept):
        def pairs(self) -> list[TinyPair]:
            return [*super().pairs(), TinyPair("a cat", "a blue cat")]

    with pytest.raises(UserError, match=r"'a cat'.*reword the pair"):
        Fmn().erase(tiny_model(), Lacking(), config(1), context(tmp_path))


@pytest.mark.parametrize(
    ("build", "message"),
    [
        (lambda: FmnConfig(pool_weight=-1), "negative"),
        (lambda: FmnConfig(train=FineTuneConfig(text_drop=0.1)), "text_drop=0"),
        (lambda: FmnConfig(rollout=RolloutConfig(guided_teacher=True)), "set it to false"),
    ],
)
def test_bad_settings_are_refused(build: Any, message: str) -> None:
    with pytest.raises(ValueError, match=message):
        build()
