"""First-scale tuning: losses against loops, the cut roll-out, what it trains and what it costs."""

from __future__ import annotations

import math
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

import pytest
import torch
from torch import Tensor

from tests.helpers import switti_tiny
from tests.helpers.by_hand import mean_divergence, symbols
from tests.helpers.tiny import TinyConcept, tiny_model
from tests.helpers.training import TRAIN, context
from varbench.baselines.first_scale import (
    FirstScaleConfig,
    FirstScaleObjective,
    FirstScaleTuning,
)
from varbench.methods.training.objective import Batch
from varbench.methods.training.rollouts import RolloutConfig, frozen_logits, pair_rollouts
from varbench.models.protocol import CapabilityError

BOTH = pytest.mark.parametrize("build", [tiny_model, switti_tiny.tiny_model], ids=["bits", "index"])


def excess(student: Tensor, target: Tensor) -> float:
    def entropies(logits: Tensor) -> list[float]:
        return [-sum(x * math.log(x) for x in p) for p in symbols(logits)]

    both = list(zip(entropies(student), entropies(target), strict=True))
    return sum(max(0.0, a - b) for a, b in both) / len(both)


def at_first_scale(model: Any, prompts: list[str]) -> Tensor:
    """Logits of the first scale out of whole roll-outs' teacher forcing."""
    text = model.encode(prompts)
    rollout = model.generate(text, [(p, 7) for p in prompts])
    first = model.schedule.lengths[0]
    out: Tensor = model.logits(rollout, text)[:, :first].detach()
    return out


@BOTH
def test_both_losses_are_the_formulas(build: Any) -> None:
    """The student is another model than the teacher, so that preserving costs something too."""
    model = build()
    config = FirstScaleConfig(entropy_weight=0.7)
    objective = FirstScaleObjective(model, TinyConcept(), config)
    before = {k: v.clone() for k, v in model.weights().state_dict().items()}
    with torch.no_grad():
        for p in model.weights().parameters():
            p.add_(0.05 * torch.randn(p.shape, generator=torch.Generator().manual_seed(p.numel())))
    rows, pairs, retained = [4, 0, 5], TinyConcept().pairs(), TinyConcept().retain_prompts()
    batch = Batch(2, rows, [False] * 3)
    erase, notes = objective.term("erase", batch)
    preserve, _ = objective.term("preserve", batch)

    shown = at_first_scale(model, [pairs[r].concept for r in rows])
    third = [retained[(2 * 3 + i) % 4] for i in range(3)]  # taken in turn, three at each step
    benign = [*(pairs[r].neutral for r in rows), *third]
    kept = at_first_scale(model, benign)
    model.weights().load_state_dict(before)
    target = at_first_scale(model, benign)
    more = excess(shown, target[:3])
    assert more > 0
    expected = mean_divergence(shown, target[:3]) + 0.7 * more
    assert float(erase.value.detach()) == pytest.approx(expected, rel=1e-3)
    assert notes["excess_entropy"] == pytest.approx(more, rel=1e-3)
    assert float(preserve.value.detach()) == pytest.approx(mean_divergence(kept, target), rel=1e-3)
    assert (erase.weight, preserve.weight) == (1.0, 1.0)


@BOTH
def test_nothing_to_preserve_before_training_nor_to_erase_in_equal_prompts(build: Any) -> None:
    @dataclass(frozen=True)
    class Same(TinyConcept):
        def pairs(self) -> list[Any]:
            return [replace(pair, concept=pair.neutral) for pair in super().pairs()]

    model = build()
    batch = Batch(0, [0, 3], [False, False])
    objective = FirstScaleObjective(model, Same(), FirstScaleConfig())
    for name in ("erase", "preserve"):
        assert float(objective.term(name, batch)[0].value.detach()) == pytest.approx(0, abs=1e-6)


@BOTH
def test_training_makes_the_first_scale_neutral(build: Any, tmp_path: Path) -> None:
    model = build()
    before = {k: v.clone() for k, v in model.weights().state_dict().items()}
    config = FirstScaleConfig(train=replace(TRAIN, steps=30, batch=6))
    edit = FirstScaleTuning().erase(model, TinyConcept(), config, context(tmp_path))
    assert edit.log[-1]["erase"] < 0.3 * edit.log[0]["erase"]
    assert edit.log[0]["preserve"] == pytest.approx(0, abs=1e-6)
    assert set(edit.tensors) == set(model.parameters("cross_attention") | model.parameters("ffn"))
    assert all(torch.equal(v, before[k]) for k, v in model.weights().state_dict().items())


def test_training_never_computes_a_later_scale(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    model, lengths = tiny_model(), []
    logits = model.logits
    monkeypatch.setattr(
        model,
        "logits",
        lambda rollout, text: lengths.append(rollout.tokens.shape[1]) or logits(rollout, text),  # type: ignore[func-returns-value]
    )
    FirstScaleTuning().erase(
        model,
        TinyConcept(),
        FirstScaleConfig(train=replace(TRAIN, steps=2)),
        context(tmp_path),
    )
    assert set(lengths) == {1}


def test_weights_of_zero_leave_their_part_out(tmp_path: Path) -> None:
    plain = FirstScaleConfig(entropy_weight=0, preserve_weight=0, train=replace(TRAIN, steps=1))
    edit = FirstScaleTuning().erase(tiny_model(), TinyConcept(), plain, context(tmp_path))
    assert "preserve" not in edit.log[0]
    model = tiny_model()
    pairs = pair_rollouts(model, TinyConcept().pairs(), RolloutConfig(), 0)
    texts = [
        model.encode([getattr(p, side) for p in TinyConcept().pairs()])
        for side in ("concept", "neutral")
    ]
    shown, target = (frozen_logits(model, pairs, text)[:, :1] for text in texts)
    from varbench.methods.training.loop import draw_batch

    rows = draw_batch(6, plain.train, 0, 0).rows
    assert edit.log[0]["erase"] == pytest.approx(
        mean_divergence(shown[rows], target[rows]), rel=1e-3
    )


def test_missing_capabilities_and_bad_settings_are_refused(tmp_path: Path) -> None:
    class Bare:
        name = "bare"

    with pytest.raises(CapabilityError, match="first-scale needs a model that offers CutsR"):
        FirstScaleTuning().erase(Bare(), TinyConcept(), FirstScaleConfig(), context(tmp_path))  # type: ignore[arg-type]
    with pytest.raises(ValueError, match="must not be negative"):
        FirstScaleConfig(entropy_weight=-1)
