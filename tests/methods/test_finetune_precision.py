"""Precision and recomputation in the training loop: what is held how, and that it comes back."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest
import torch

from tests.helpers.tiny import TinyConcept, tiny_model
from tests.helpers.training import TRAIN, assert_same_bits, context, snapshot
from varbench.conf.compose import resolve
from varbench.errors import UserError
from varbench.methods.registry import load_method
from varbench.methods.training.config import PRECISIONS, FineTuneConfig
from varbench.methods.training.loop import fine_tune
from varbench.methods.training.losses import probability_distance
from varbench.methods.training.objective import Batch, SharedHistory, Term
from varbench.methods.training.parameters import training_mode
from varbench.methods.training.rollouts import RolloutConfig, auxiliary_tokens
from varbench.models.common.execution import Execution
from varbench.models.infinity.model import InfinityModel
from varbench.models.protocol import CapabilityError, trainable

FP32, BF16 = torch.float32, torch.bfloat16


def loaded_in(dtype: torch.dtype) -> InfinityModel:
    model = tiny_model()
    for p in model.block_parameters().values():
        p.data = p.data.to(dtype)
    return model


@pytest.mark.parametrize("loaded", [FP32, BF16])
@pytest.mark.parametrize("precision", PRECISIONS)
def test_what_is_held_in_which_precision(precision: str, loaded: torch.dtype) -> None:
    model = loaded_in(loaded)
    before = snapshot(model)
    config = replace(TRAIN, precision=precision, checkpointing=True)
    chosen = trainable(model, config.parts)
    with training_mode(model, chosen, config, 0) as (parameters, _):
        assert parameters.keys() == chosen.keys()
        assert model.execution == Execution(bf16=precision != "fp32", checkpointing=True)
        for name, p in model.weights().named_parameters():
            assert p.requires_grad == (name in chosen), name
            if not name.startswith("blocks.") or precision == "fp32":
                expected = FP32
            elif precision == "bf16-weights":
                expected = BF16
            else:
                frozen_matrix = name not in chosen and p.ndim == 2
                expected = BF16 if frozen_matrix else FP32
            assert p.dtype == expected, name
            assert torch.equal(p.detach().float(), before[name].to(expected).float()), name
            if name in chosen:
                p.data += 1
    assert_same_bits(model, before)


def test_holding_frozen_matrices_in_bf16_changes_no_bit() -> None:
    """Autocast would round them to the same values at every product."""
    model = tiny_model()
    text = model.encode(["a red cat", "a dog"])
    pairs = model.generate(text, [("a", 0), ("b", 0)])
    config = replace(TRAIN, precision="bf16")
    logits = []
    with training_mode(model, trainable(model, config.parts), config, 0):
        logits.append(model.logits(pairs, text))
    model.execution = Execution(bf16=True)
    logits.append(model.logits(pairs, text))
    assert torch.equal(*logits)


@pytest.mark.parametrize("precision", PRECISIONS)
def test_checkpointing_does_not_change_the_edit(precision: str, tmp_path: Path) -> None:
    method, edits = load_method("svare"), []
    for checkpointing in (False, True):
        model = tiny_model()
        before = snapshot(model)
        config = method.Config(
            train=replace(TRAIN, steps=3, precision=precision, checkpointing=checkpointing)
        )
        edits.append(method.erase(model, TinyConcept(), config, context(tmp_path)))
        assert_same_bits(model, before)
    assert edits[0].log == edits[1].log
    wanted = BF16 if precision == "bf16-weights" else FP32
    for name, value in edits[0].tensors.items():
        assert value.dtype == wanted
        assert torch.equal(value, edits[1].tensors[name]), name


def test_small_updates_add_up_on_master_weights_only(tmp_path: Path) -> None:
    """A step below half a bfloat16 step of the weight is lost on bfloat16 weights."""
    moved = {}
    for precision in ("bf16", "bf16-weights"):
        model = tiny_model()
        before = snapshot(model)
        tokens = auxiliary_tokens(model, TinyConcept().pairs(), RolloutConfig(), 0)
        config = replace(TRAIN, steps=8, rate=2e-6, weight_decay=0.0, precision=precision)
        edit = fine_tune(model, Matching(model, tokens), config, context(tmp_path))
        large = [
            (value.float() != before[name].to(value.dtype).float())[before[name].abs() > 0.02]
            for name, value in edit.tensors.items()
            if value.ndim == 2
        ]
        moved[precision] = float(torch.cat(large).float().mean())
    assert moved["bf16"] > 0.95
    assert moved["bf16-weights"] < 0.01


class Matching(SharedHistory):
    """VARE's distance on shared histories."""

    def term(self, name: str, batch: Batch) -> tuple[Term, dict[str, float]]:
        student = self.student(self.tokens.concept, batch)
        return Term(name, probability_distance(student, self.teacher(batch))), {}


class Failing:
    """An objective whose loss cannot be computed."""

    size = 6

    def terms(self, batch: Batch) -> list[str]:
        return ["erase"]

    def term(self, name: str, batch: Batch) -> tuple[Term, dict[str, float]]:
        raise FloatingPointError("stop")


@pytest.mark.parametrize("rank", [0, 2])
@pytest.mark.parametrize("precision", PRECISIONS)
def test_a_failed_training_leaves_the_model_as_it_was(
    precision: str, rank: int, tmp_path: Path
) -> None:
    model = tiny_model()
    before = snapshot(model)
    config = replace(TRAIN, precision=precision, checkpointing=True, lora_rank=rank)
    with pytest.raises(FloatingPointError):
        fine_tune(model, Failing(), config, context(tmp_path))
    assert_same_bits(model, before)


class Rigid:
    """A model of the protocol alone: how it computes cannot be chosen."""

    name = "rigid"

    def __init__(self) -> None:
        own = tiny_model()
        self.parameters, self.weights = own.parameters, own.weights


def test_a_model_without_execution_trains_in_its_own_way_only(tmp_path: Path) -> None:
    model: Any = Rigid()
    with training_mode(model, trainable(model, TRAIN.parts), TRAIN, 0) as (parameters, _):
        assert {p.dtype for p in parameters.values()} == {FP32}
    for changes in ({"precision": "bf16"}, {"checkpointing": True}):
        config: FineTuneConfig = replace(TRAIN, **changes)  # type: ignore[arg-type]
        with pytest.raises(CapabilityError, match=r"train\.precision=fp32"):
            fine_tune(model, Failing(), config, context(tmp_path))


@pytest.mark.parametrize(
    ("key", "value", "message"),
    [
        ("precision", "fp16", "bf16-weights"),
        ("optimiser", "adamw-8bit", "optimiser must be adamw"),
        ("lora_rank", -1, "negative"),
        ("lora_alpha", 0, "positive"),
        ("lora_rank", 4, r"pip install '\.\[lora\]'"),
    ],
)
def test_bad_settings_and_absent_packages_are_refused_at_once(
    key: str, value: Any, message: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    """As the command line does, before a model is loaded."""
    monkeypatch.setattr("importlib.util.find_spec", lambda name: None)
    with pytest.raises(UserError, match=message):
        resolve("gallery", "smoke", "svare", [f"method.train.{key}={value}"])
