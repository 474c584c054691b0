"""Obliviate: target and loss against loops over single symbols, on bits and on index tokens."""

from __future__ import annotations

import math
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest
import torch
from torch import Tensor

from tests.helpers import switti_tiny
from tests.helpers.by_hand import probabilities
from tests.helpers.tiny import TinyConcept, tiny_model
from tests.helpers.training import TRAIN, context
from varbench.baselines.obliviate import Obliviate, ObliviateConfig
from varbench.methods.base import applied
from varbench.methods.registry import load_method
from varbench.methods.training.losses import ScaleWeights, preservation_loss
from varbench.methods.training.objective import Batch, DistillObjective
from varbench.methods.training.rollouts import RolloutConfig, pair_rollouts

BOTH = pytest.mark.parametrize("build", [tiny_model, switti_tiny.tiny_model], ids=["bits", "index"])
ONE = replace(TRAIN, steps=1, batch=6)


def loss_by_hand(student: Tensor, concept: Tensor, null: Tensor, eta: float) -> float:
    """Mean KL to the renormalised ``P_null^(1 + eta) / P_concept^eta``, symbol by symbol."""
    total, count = 0.0, 0
    rows = [t.detach().double().flatten(0, 2).tolist() for t in (student, concept, null)]
    for z, c, u in zip(*rows, strict=True):
        powers = [
            pu ** (1 + eta) / pc**eta
            for pu, pc in zip(probabilities(u), probabilities(c), strict=True)
        ]
        target = [p / sum(powers) for p in powers]
        total += sum(p * math.log(p / q) for p, q in zip(target, probabilities(z), strict=True))
        count += 1
    return total / count


@BOTH
@pytest.mark.parametrize("eta", [2.0, 0.5, 0.0])
def test_the_first_loss_is_the_formula(build: Any, eta: float, tmp_path: Path) -> None:
    config = ObliviateConfig(eta=eta, train=ONE)
    edit = Obliviate().erase(build(), TinyConcept(), config, context(tmp_path))
    model = build()
    text = model.encode([pair.concept for pair in TinyConcept().pairs()])
    rollout = pair_rollouts(model, TinyConcept().pairs(), RolloutConfig(), 0, "concept")
    own, null = model.logits(rollout, text), model.logits(rollout, model.null(text))
    assert edit.log[0]["erase"] == pytest.approx(loss_by_hand(own, own, null, eta), rel=1e-3)


@BOTH
def test_the_concept_itself_as_target_leaves_nothing_to_do(build: Any, tmp_path: Path) -> None:
    edit = Obliviate().erase(
        build(), TinyConcept(), ObliviateConfig(eta=-1, train=ONE), context(tmp_path)
    )
    assert edit.log[0]["erase"] == pytest.approx(0, abs=1e-6)


@BOTH
def test_erasing_moves_the_prediction_off_the_concept(build: Any, tmp_path: Path) -> None:
    """Towards and beyond the unconditional prediction; only the stated parts change."""
    model = build()
    before = {k: v.clone() for k, v in model.weights().state_dict().items()}
    config = ObliviateConfig(train=replace(TRAIN, steps=20, batch=6))
    edit = Obliviate().erase(model, TinyConcept(), config, context(tmp_path))
    assert edit.log[-1]["erase"] < 0.8 * edit.log[0]["erase"]
    assert set(edit.tensors) == set(model.parameters("cross_attention") | model.parameters("ffn"))
    assert all(torch.equal(v, before[k]) for k, v in model.weights().state_dict().items())
    text = model.encode([pair.concept for pair in TinyConcept().pairs()])
    rollout = pair_rollouts(model, TinyConcept().pairs(), RolloutConfig(), 0, "concept")
    with torch.no_grad():
        prompted, null = model.logits(rollout, text), model.logits(rollout, model.null(text))
        with applied(model, edit):
            moved = model.logits(rollout, text)
    prompted, null, moved = (z - z.mean(-1, keepdim=True) for z in (prompted, null, moved))
    assert float(((moved - prompted) * (null - prompted)).sum()) > 0


def test_every_row_trains_on_its_own_roll_out() -> None:
    model = tiny_model()
    text = model.encode([pair.concept for pair in TinyConcept().pairs()])
    rollout = pair_rollouts(model, TinyConcept().pairs(), RolloutConfig(), 0, "concept")
    logits = model.logits(rollout, text).detach()
    objective = DistillObjective(model, text, rollout, logits, preservation_loss)
    term, _ = objective.term("erase", Batch(0, [4, 1], [False, False]))
    assert float(term.value.detach()) == pytest.approx(0, abs=1e-6)
    objective.target = logits.roll(1, 0)
    other, _ = objective.term("erase", Batch(0, [4, 1], [False, False]))
    assert float(other.value.detach()) > 1e-3


def test_adapters_of_the_released_code(tmp_path: Path) -> None:
    """Rank 32 on matrices of at least that many rows; alpha is 16 by default."""
    config = ObliviateConfig(train=replace(TRAIN, steps=2, lora_rank=32))
    assert config.train.lora_alpha == 16
    edit = load_method("obliviate").erase(tiny_model(), TinyConcept(), config, context(tmp_path))  # type: ignore[union-attr]
    assert all(value.ndim == 2 for value in edit.tensors.values())


def test_bad_settings_are_refused() -> None:
    with pytest.raises(ValueError, match="eta must be at least -1"):
        ObliviateConfig(eta=-2)
    with pytest.raises(ValueError, match="set it to false"):
        ObliviateConfig(rollout=RolloutConfig(guided_teacher=True))


def test_scales_count_as_they_are_weighted(tmp_path: Path) -> None:
    """The first scale alone: the formula on its symbols."""
    config = ObliviateConfig(scales=ScaleWeights("first_m", 1), train=ONE)
    edit = Obliviate().erase(tiny_model(), TinyConcept(), config, context(tmp_path))
    model = tiny_model()
    text = model.encode([pair.concept for pair in TinyConcept().pairs()])
    rollout = pair_rollouts(model, TinyConcept().pairs(), RolloutConfig(), 0, "concept")
    own, null = (model.logits(rollout, t)[:, :1] for t in (text, model.null(text)))
    assert edit.log[0]["erase"] == pytest.approx(loss_by_hand(own, own, null, 2.0), rel=1e-3)
