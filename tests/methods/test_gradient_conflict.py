"""The cosine of the losses' gradients: against autograd by hand, and no trace in the edit."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest
import torch
from torch import Tensor, nn

from tests.helpers.tiny import TinyConcept, tiny_model
from varbench.methods.base import Edit, TrainingContext
from varbench.methods.registry import load_method
from varbench.methods.svare import SvareConfig, SvareObjective
from varbench.methods.training.config import FineTuneConfig
from varbench.methods.training.loop import GradientConflict, draw_batch
from varbench.methods.training.rollouts import auxiliary_tokens
from varbench.pipeline.estimate.training_memory import training_memory
from varbench.utils.progress import Progress

TRAIN = FineTuneConfig(steps=4, batch=2, rate=1e-3)


def erased(tmp_path: Path, method: str = "svare", **changes: Any) -> Edit:
    chosen = load_method(method)
    config = chosen.Config(train=replace(TRAIN, **changes))
    context = TrainingContext(0, tmp_path / "scratch.pt", Progress())
    return chosen.erase(tiny_model(), TinyConcept(), config, context)  # type: ignore[union-attr]


def gradients(model: Any, loss: Tensor, names: list[str]) -> Tensor:
    named = dict(model.weights().named_parameters())
    parts = torch.autograd.grad(loss, [named[n] for n in names], allow_unused=True)
    flat = [
        (torch.zeros_like(named[n]) if g is None else g).flatten()
        for n, g in zip(names, parts, strict=True)
    ]
    return torch.cat(flat).double()


def test_the_cosine_is_that_of_autograd(tmp_path: Path) -> None:
    """At step 0 preserving has hardly a gradient, so the last step is compared."""
    edit = erased(tmp_path, log_conflict=True)
    model, config = tiny_model(), SvareConfig(train=TRAIN)
    tokens = auxiliary_tokens(model, TinyConcept().pairs(), config.rollout, 0)
    objective = SvareObjective(model, tokens, config)
    before_last = erased(tmp_path, steps=TRAIN.steps - 1)
    names = list(edit.tensors)
    with torch.no_grad():
        for name, value in before_last.tensors.items():
            model.weights().state_dict()[name].copy_(value)
    for name, p in model.weights().named_parameters():
        p.requires_grad_(name in names)
    batch = draw_batch(6, TRAIN, 0, TRAIN.steps - 1)
    erase, preserve = (
        gradients(model, objective.term(name, batch)[0].value, names)
        for name in ("erase", "preserve")
    )
    expected = float(torch.dot(erase, preserve) / (erase.norm() * preserve.norm()))
    assert edit.log[-1]["conflict"] == pytest.approx(expected, abs=1e-4)
    assert abs(expected) > 1e-3


@pytest.mark.parametrize("separate_steps", [False, True])
def test_watching_changes_no_bit_and_logs_every_step(separate_steps: bool, tmp_path: Path) -> None:
    plain = erased(tmp_path, separate_steps=separate_steps)
    watched = erased(tmp_path, separate_steps=separate_steps, log_conflict=True)
    assert all(torch.equal(plain.tensors[n], watched.tensors[n]) for n in plain.tensors)
    rest = [{k: v for k, v in line.items() if k != "conflict"} for line in watched.log]
    assert rest == list(plain.log)
    assert all(-1 <= line["conflict"] <= 1 for line in watched.log)
    assert not any("conflict" in line for line in plain.log)


def test_a_method_with_one_loss_has_no_conflict(tmp_path: Path) -> None:
    assert not any("conflict" in line for line in erased(tmp_path, "vare", log_conflict=True).log)


def parameters(*grads: list[float] | None) -> dict[str, nn.Parameter]:
    named = {}
    for i, grad in enumerate(grads):
        named[str(i)] = nn.Parameter(torch.zeros(2))
        named[str(i)].grad = None if grad is None else torch.tensor(grad)
    return named


@pytest.mark.parametrize("separate_steps", [False, True])
def test_parameters_that_one_loss_does_not_touch_count_as_zero(separate_steps: bool) -> None:
    named = parameters([3.0, 0.0], [0.0, 4.0], None)
    conflict = GradientConflict(named, separate_steps)
    conflict.after_first()
    assert (named["0"].grad is None) is not separate_steps
    for name, grad in (("0", [-1.0, 0.0]), ("1", None), ("2", [0.0, 1.0])):
        named[name].grad = None if grad is None else torch.tensor(grad)
    assert conflict.after_last() == {"conflict": pytest.approx(-3 / (5 * 2**0.5))}
    left = [None if p.grad is None else p.grad.tolist() for p in named.values()]
    together = [[2.0, 0.0], [0.0, 4.0], [0.0, 1.0]]
    assert left == ([[-1.0, 0.0], None, [0.0, 1.0]] if separate_steps else together)


def test_without_a_gradient_there_is_no_cosine() -> None:
    conflict = GradientConflict(parameters([0.0, 0.0]), separate_steps=False)
    conflict.after_first()
    assert conflict.after_last() == {}


def test_the_plan_counts_the_second_gradient() -> None:
    model = tiny_model()
    text = model.encode(["a red cat", "a red dog"])
    pairs = model.generate(text, [("a", 0), ("b", 0)])
    plain, watched = (
        training_memory(model, pairs, text, replace(TRAIN, log_conflict=log))
        for log in (False, True)
    )
    assert watched.peak - plain.peak == plain.gradients
