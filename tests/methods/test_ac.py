"""Concept ablation: both targets and the prior against loops, and what it trains."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest
import torch

from tests.helpers import switti_tiny
from tests.helpers.by_hand import mean_cross_entropy, mean_divergence
from tests.helpers.tiny import TinyConcept, tiny_model
from tests.helpers.training import TRAIN, context
from varbench.baselines.ac import Ac, AcConfig
from varbench.conf.compose import resolve
from varbench.methods.training.config import FineTuneConfig
from varbench.methods.training.rollouts import RolloutConfig, pair_rollouts

BOTH = pytest.mark.parametrize("build", [tiny_model, switti_tiny.tiny_model], ids=["bits", "index"])
ALL_AT_ONCE = {"batch": 6, "rate": 3e-3}


def config(target: str, steps: int, **changes: Any) -> AcConfig:
    own = AcConfig(target=target, **changes)
    return replace(own, train=replace(own.train, steps=steps, **ALL_AT_ONCE))


@BOTH
@pytest.mark.parametrize("target", ["model", "noise"])
def test_the_first_losses_are_the_formulas(build: Any, target: str, tmp_path: Path) -> None:
    edit = Ac().erase(
        build(), TinyConcept(), config(target, 1, prior_weight=0.3), context(tmp_path)
    )
    model, pairs = build(), TinyConcept().pairs()
    rollout = pair_rollouts(model, pairs, RolloutConfig(), 0, "neutral")
    concept = model.logits(rollout, model.encode([p.concept for p in pairs]))
    neutral = model.logits(rollout, model.encode([p.neutral for p in pairs]))
    expected = (
        mean_divergence(concept, neutral)
        if target == "model"
        else mean_cross_entropy(concept, rollout.tokens)
    )
    assert edit.log[0]["erase"] == pytest.approx(expected, rel=1e-4)
    prior = mean_cross_entropy(neutral, rollout.tokens)
    assert edit.log[0]["prior"] == pytest.approx(prior, rel=1e-4)


@BOTH
@pytest.mark.parametrize("target", ["model", "noise"])
def test_erasing_lowers_the_loss_in_keys_and_values_alone(
    build: Any, target: str, tmp_path: Path
) -> None:
    model = build()
    before = {k: v.clone() for k, v in model.weights().state_dict().items()}
    edit = Ac().erase(model, TinyConcept(), config(target, 20), context(tmp_path))
    assert edit.log[-1]["erase"] < 0.8 * edit.log[0]["erase"]
    assert "prior" not in edit.log[0]
    kinds = {name.split(".", 2)[2] for name in edit.tensors}
    assert kinds in (
        {"ca.mat_kv.weight", "ca.v_bias"},
        {"cross_attn.to_kv.weight", "cross_attn.to_kv.bias"},
    )
    assert all(torch.equal(v, before[k]) for k, v in model.weights().state_dict().items())


def test_the_prior_term_keeps_the_anchor(tmp_path: Path) -> None:
    """A prior that outweighs the rest pulls the anchor's likelihood up, and the logs say so."""
    logs = [
        Ac()
        .erase(
            tiny_model(),
            TinyConcept(),
            config("model", 20, prior_weight=weight),
            context(tmp_path),
        )
        .log
        for weight in (1e-6, 10.0)
    ]
    assert logs[1][-1]["prior"] < 0.8 * logs[0][-1]["prior"]
    assert logs[1][-1]["erase"] > logs[0][-1]["erase"]


def test_identical_prompts_leave_nothing_to_match(tmp_path: Path) -> None:
    class Same(TinyConcept):
        def pairs(self) -> Any:
            return [replace(pair, concept=pair.neutral) for pair in super().pairs()]

    edit = Ac().erase(tiny_model(), Same(), config("model", 1), context(tmp_path))
    assert edit.log[0]["erase"] == pytest.approx(0, abs=1e-6)


def test_the_pooled_path_is_trained_if_it_is_among_the_parts(tmp_path: Path) -> None:
    parts = ("cross_attention.kv", "pooled_text")
    own = AcConfig(train=replace(TRAIN, steps=2, parts=parts))
    edit = Ac().erase(tiny_model(), TinyConcept(), own, context(tmp_path))
    assert "text_proj_for_sos.ca.mat_kv.weight" in edit.tensors
    assert "blocks.0.ca.mat_q.weight" not in edit.tensors


def test_the_models_figures_fit_the_training_and_its_parts_stay() -> None:
    resolved = resolve("gallery", "smoke", "ac", ["method.train.beta1=0.8"]).method
    assert list(resolved.train.parts) == ["cross_attention.kv"]
    assert resolved.train.batch == 8 != FineTuneConfig().batch
    assert resolved.train.beta1 == 0.8


@pytest.mark.parametrize(
    ("build", "message"),
    [
        (lambda: AcConfig(target="both"), "model, noise"),
        (lambda: AcConfig(prior_weight=-1), "negative"),
        (
            lambda: AcConfig(target="noise", rollout=RolloutConfig(guided_teacher=True)),
            "set it to false",
        ),
    ],
)
def test_bad_settings_are_refused(build: Any, message: str) -> None:
    with pytest.raises(ValueError, match=message):
        build()
