"""EAR: targets and windows against loops, dropped windows, and which blocks are trained."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest
import torch
from torch import Tensor

from tests.helpers import switti_tiny
from tests.helpers.tiny import TinyConcept, tiny_model
from tests.helpers.training import TRAIN, context
from varbench.baselines.ear import Ear, EarConfig, EarObjective, targets
from varbench.conf.compose import resolve
from varbench.methods.base import applied
from varbench.methods.training.config import FineTuneConfig
from varbench.methods.training.loop import fine_tune
from varbench.methods.training.objective import Batch
from varbench.methods.training.parameters import trained_parameters
from varbench.methods.training.rollouts import RolloutConfig, pair_rollouts
from varbench.models.infinity.hooks import outputs
from varbench.models.infinity.model import InfinityModel
from varbench.models.protocol import CapabilityError, Rollout

PAIRS = TinyConcept().pairs()
SELF = replace(TRAIN, parts=("self_attention",), blocks=1)


def material(model: InfinityModel, prefix: str = "neutral") -> tuple[Rollout, Any, Any]:
    rollout = pair_rollouts(model, PAIRS, RolloutConfig(), 0, prefix)
    texts = [model.encode([getattr(p, side) for p in PAIRS]) for side in ("concept", "neutral")]
    return rollout, texts[0], texts[1]


def last_states(model: InfinityModel, rollout: Rollout, text: Any) -> list[list[list[float]]]:
    """Outputs of the last block as plain numbers ``[N][L][W]``."""
    with outputs([model.transformer.blocks[-1]]) as seen, torch.no_grad():
        model.logits(rollout, text)
    found: list[list[list[float]]] = seen[-1].double().tolist()
    return found


@pytest.mark.parametrize("eta", [1.0, 0.0, 2.5])
def test_the_loss_of_every_scale_is_the_formula(eta: float) -> None:
    model = tiny_model()
    rollout, concept, neutral = material(model)
    target = targets(model, rollout, concept, neutral, eta)
    objective = EarObjective(model, rollout, concept, target, threshold=0.0)
    shown, plain = (last_states(model, rollout, text) for text in (concept, neutral))
    rows = [5, 2]
    start = 0
    for scale, length in enumerate((1, 4, 16)):
        term, notes = objective.term("erase", Batch(3 * 4 + scale, rows, [False, False]))
        summed = 0.0
        for n in rows:
            for t in range(start, start + length):
                for h, p in zip(shown[n][t], plain[n][t], strict=True):
                    summed += (h - (p - eta * (h - p))) ** 2 / 32 / len(rows)
        start += length
        assert notes["scale"] == scale
        assert notes["summed"] == pytest.approx(summed, rel=1e-3)
        assert float(term.value.detach()) == pytest.approx(summed / length, rel=1e-3)


def test_the_concept_itself_as_target_leaves_nothing_to_do() -> None:
    model = tiny_model()
    rollout, concept, neutral = material(model)
    target = targets(model, rollout, concept, neutral, -1.0)
    objective = EarObjective(model, rollout, concept, target, threshold=0.05)
    for step in range(3):
        term, notes = objective.term("erase", Batch(step, [0, 1], [False, False]))
        assert float(term.value.detach()) == pytest.approx(0, abs=1e-9)
        assert (term.weight, notes["kept"]) == (0.0, 0.0)


def test_later_scales_are_not_computed_and_change_nothing(monkeypatch: pytest.MonkeyPatch) -> None:
    model = tiny_model()
    rollout, concept, neutral = material(model)
    target = targets(model, rollout, concept, neutral, 1.0)
    lengths: list[int] = []
    hidden = model.hidden

    def counting(history: Rollout, text: Any) -> Tensor:
        lengths.append(history.tokens.shape[1])
        return hidden(history, text)

    monkeypatch.setattr(model, "hidden", counting)
    objective = EarObjective(model, rollout, concept, target, threshold=0.0)
    for step in range(6):
        objective.term("erase", Batch(step, [0], [False]))
    assert lengths == [1, 5, 21, 1, 5, 21]


class Cautious(EarObjective):
    """Keeps the windows of one scale only."""

    def term(self, name: str, batch: Batch) -> Any:
        term, notes = super().term(name, batch)
        return replace(term, weight=float(notes["scale"] == 1)), notes


def test_a_dropped_window_makes_no_step(tmp_path: Path) -> None:
    """Neither momentum nor weight decay moves a weight while windows are dropped."""
    model = tiny_model()
    rollout, concept, neutral = material(model)
    target = targets(model, rollout, concept, neutral, 1.0)
    edits = [
        fine_tune(
            model,
            Cautious(model, rollout, concept, target, 0.0),
            replace(SELF, steps=steps, weight_decay=0.1),
            context(tmp_path),
        )
        for steps in (1, 2, 4, 5)  # scales 0 | 1 | 2, 0 | 1
    ]
    before = model.weights().state_dict()
    first, second, fourth, fifth = (edit.tensors for edit in edits)
    for name in first:
        assert torch.equal(first[name], before[name])
        assert torch.equal(second[name], fourth[name])
    moved = [name for name in first if not torch.equal(second[name], before[name])]
    assert moved
    assert all(not torch.equal(fourth[name], fifth[name]) for name in moved)
    assert edits[3].log[2]["norm"] == 0 < edits[3].log[4]["norm"]


def test_a_high_threshold_drops_everything_with_a_note(tmp_path: Path) -> None:
    model = tiny_model()
    config = EarConfig(threshold=1e9, train=replace(SELF, steps=4))
    edit = Ear().erase(model, TinyConcept(), config, context(tmp_path))
    before = model.weights().state_dict()
    assert all(torch.equal(value, before[name]) for name, value in edit.tensors.items())
    assert [line["kept"] for line in edit.log] == [0.0] * 4
    assert all(0 < line["summed"] < 1e9 for line in edit.log)


def test_self_attention_of_the_first_blocks_is_trained_and_the_loss_falls(tmp_path: Path) -> None:
    model = tiny_model()
    before = {k: v.clone() for k, v in model.weights().state_dict().items()}
    config = EarConfig(train=replace(SELF, steps=60, batch=6, rate=3e-3))
    edit = Ear().erase(model, TinyConcept(), config, context(tmp_path))
    assert set(edit.tensors) == {n for n in before if n.startswith("blocks.0.sa.")}
    assert all(torch.equal(v, before[k]) for k, v in model.weights().state_dict().items())
    finest = [line["erase"] for line in edit.log if line["scale"] == 2]
    assert finest[-1] < 0.9 * finest[0]

    rollout, concept, neutral = material(model)
    target = targets(model, rollout, concept, neutral, 1.0)
    with torch.no_grad(), applied(model, edit):
        after = (model.hidden(rollout, concept) - target).square().mean()
    start = (model.hidden(rollout, concept) - target).square().mean()
    assert float(after) < float(start.detach())


def test_the_first_blocks_of_any_part() -> None:
    model = tiny_model()
    names = list(
        trained_parameters(model, FineTuneConfig(parts=("head", "ffn", "self_attention"), blocks=1))
    )
    assert names
    assert all(n.startswith(("blocks.0.sa.", "blocks.0.ffn.")) for n in names)
    every = trained_parameters(model, FineTuneConfig(parts=("ffn",)))
    assert trained_parameters(model, FineTuneConfig(parts=("ffn",), blocks=99)) == every
    with pytest.raises(CapabilityError, match="inside blocks"):
        trained_parameters(model, FineTuneConfig(parts=("head",), blocks=1))
    with pytest.raises(ValueError, match="blocks must not be negative"):
        FineTuneConfig(blocks=-1)


def test_its_own_defaults_survive_the_configuration() -> None:
    config = resolve("gallery", "smoke", "ear", ["method.train.steps=7"]).method
    assert isinstance(config, EarConfig)
    assert (list(config.train.parts), config.train.blocks) == (["self_attention"], 5)
    assert config.train.steps == 7


def test_missing_capabilities_and_bad_settings_are_refused(tmp_path: Path) -> None:
    with pytest.raises(CapabilityError, match="ear needs a model that offers HasHidden"):
        Ear().erase(switti_tiny.tiny_model(), TinyConcept(), EarConfig(), context(tmp_path))
    for settings, message in (
        ({"eta": -3}, "at least -1"),
        ({"threshold": -1}, "must not be negative"),
        ({"prefix": "other"}, "neutral, concept, mixed"),
        ({"rollout": RolloutConfig(guided_teacher=True)}, "set it to false"),
    ):
        with pytest.raises(ValueError, match=message):
            EarConfig(**settings)  # type: ignore[arg-type]


def test_recomputed_blocks_give_the_same_edit(tmp_path: Path) -> None:
    """Hidden states are taken out of blocks that are computed again on the way back."""
    edits = [
        Ear().erase(tiny_model(), TinyConcept(), EarConfig(train=train), context(tmp_path))
        for train in (replace(SELF, steps=6), replace(SELF, steps=6, checkpointing=True))
    ]
    assert all(torch.equal(v, edits[1].tensors[k]) for k, v in edits[0].tensors.items())
    assert any(line["kept"] for line in edits[0].log)
