"""Fine-tuning methods run on index tokens, and where no scale attends to another."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest
import torch

from tests.helpers.switti_tiny import tiny_model
from tests.helpers.tiny import TinyConcept
from varbench.methods.base import Edit, TrainingContext, applied
from varbench.methods.registry import load_method
from varbench.methods.training.config import FineTuneConfig
from varbench.methods.training.losses import preservation_loss
from varbench.methods.training.rollouts import RolloutConfig, auxiliary_tokens
from varbench.models.protocol import CapabilityError
from varbench.models.switti.model import SwittiModel
from varbench.utils.progress import Progress

BOTH = pytest.mark.parametrize("causal", [False, True], ids=["switti", "ar"])
METHODS = ("naive", "svare", "vare")
TRAIN = FineTuneConfig(steps=12, batch=6, rate=3e-3)
"""A batch holds all six pairs, so losses of different steps compare."""


def erase(model: SwittiModel, name: str, folder: Path, **changes: Any) -> Edit:
    method = load_method(name)
    config = method.Config(train=replace(TRAIN, **changes))
    context = TrainingContext(0, folder / "scratch.pt", Progress())
    return method.erase(model, TinyConcept(), config, context)


@BOTH
@pytest.mark.parametrize("name", METHODS)
def test_a_method_lowers_its_loss_and_touches_only_its_parts(
    name: str, causal: bool, tmp_path: Path
) -> None:
    model = tiny_model(causal)
    before = {k: v.clone() for k, v in model.weights().state_dict().items()}
    edit = erase(model, name, tmp_path)
    losses = [step["erase"] + step.get("preserve", 0.0) for step in edit.log]
    assert losses[-1] < 0.8 * losses[0], losses
    assert all(".cross_attn." in k or ".ffn." in k for k in edit.tensors)
    assert all(not torch.equal(value, before[k]) for k, value in edit.tensors.items())

    edit.save(tmp_path / "edit.safetensors")
    prompts = model.encode(["a red cat", "a blue cup"])
    keys = [("a", 0), ("b", 0)]
    plain = model.generate(prompts, keys)
    with applied(model, Edit.load(tmp_path / "edit.safetensors")):
        for k, value in model.weights().state_dict().items():
            assert torch.equal(value, edit.tensors.get(k, before[k])), k
        assert not torch.equal(model.generate(prompts, keys).tokens, plain.tokens)
    for k, value in model.weights().state_dict().items():
        assert torch.equal(value, before[k]), k
    assert torch.equal(model.generate(prompts, keys).tokens, plain.tokens)


@BOTH
def test_student_and_teacher_agree_before_training(causal: bool) -> None:
    model = tiny_model(causal)
    tokens = auxiliary_tokens(model, TinyConcept().pairs(), RolloutConfig(), 0)
    with torch.no_grad():
        student = model.logits(tokens.rollout, tokens.neutral)
    assert abs(float(preservation_loss(student, tokens.teacher_logits))) < 1e-6
    with torch.no_grad():
        other = model.logits(tokens.rollout, tokens.concept)
    assert float(preservation_loss(other, tokens.teacher_logits)) > 1e-3


def test_dropped_texts_are_the_empty_prompt(tmp_path: Path) -> None:
    """All texts dropped: the concept's wording cannot matter any more."""
    first = erase(tiny_model(), "svare", tmp_path, steps=2, text_drop=1.0)
    kept = erase(tiny_model(), "svare", tmp_path, steps=2)
    assert first.log[0]["erase"] != kept.log[0]["erase"]


def test_parts_and_precisions_it_lacks_are_refused_by_name(tmp_path: Path) -> None:
    with pytest.raises(CapabilityError, match="text_projection"):
        erase(tiny_model(), "vare", tmp_path, parts=("text_projection",))
    with pytest.raises(CapabilityError, match="precision=fp32"):
        erase(tiny_model(), "vare", tmp_path, precision="bf16")
