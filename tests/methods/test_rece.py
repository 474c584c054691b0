"""RECE: the attack's closed form, what it regains, and the answers to it."""

from __future__ import annotations

from pathlib import Path

import pytest
import torch
from torch import Tensor

from tests.helpers.tiny import TinyConcept, tiny_model
from varbench.baselines.rece import Rece, ReceConfig, answered, attack, gram, regained
from varbench.baselines.token_alignment import Contexts, problems
from varbench.baselines.uce import Uce, UceConfig, solve, weighed
from varbench.conf.compose import resolve
from varbench.methods.base import Edit, TrainingContext
from varbench.methods.registry import load_method
from varbench.utils.progress import Progress

CONTEXT = TrainingContext(0, Path("unused"), Progress())


def erase(config: ReceConfig) -> Edit:
    return Rece().erase(tiny_model(), TinyConcept(), config, CONTEXT)


def numbers(seed: int, *shape: int) -> Tensor:
    return torch.randn(*shape, generator=torch.Generator().manual_seed(seed), dtype=torch.float64)


def test_the_attack_is_where_its_objective_is_flat() -> None:
    matrices = [numbers(0, 6, 5), numbers(1, 4, 5)]
    multiplier, concept = torch.eye(5, dtype=torch.float64) + 0.4 * numbers(2, 5, 5), numbers(3, 5)
    new = [w @ multiplier for w in matrices]
    spectrum = torch.linalg.eigvalsh(sum(w.T @ w for w in new))  # type: ignore[arg-type]
    ridge = 0.2 * float(spectrum.mean())

    def objective(row: Tensor) -> Tensor:
        loss = ridge * row.square().sum()
        for before, after in zip(matrices, new, strict=True):
            loss = loss + (after @ row - before @ concept).square().sum()
        return loss

    def slope(row: Tensor) -> float:
        at = row.clone().requires_grad_()
        return float(torch.autograd.grad(objective(at), at)[0].norm())

    found = attack(gram(matrices), multiplier, concept[None], 0.2)[0]
    assert slope(found) < 1e-12 * slope(concept)
    assert objective(found) < objective(concept)


def test_what_an_attack_regains_by_brute_force() -> None:
    matrices, multiplier = [numbers(0, 6, 5), numbers(1, 4, 5)], numbers(2, 5, 5)
    erased = Contexts(numbers(3, 2, 5), numbers(4, 2, 5), torch.tensor([0.3, 0.7]).double())
    answers = numbers(5, 2, 5)
    left = apart = 0.0
    for i, weight in enumerate((0.3, 0.7)):
        for w in matrices:
            mentions = w @ erased.rows[i]
            left += weight * float((w @ multiplier @ answers[i] - mentions).square().sum())
            apart += weight * float((w @ erased.targets[i] - mentions).square().sum())
    share = regained(gram(matrices), multiplier, answers, erased)
    assert share == pytest.approx(1 - left / apart, rel=1e-6)

    identity = torch.eye(5, dtype=torch.float64)
    g = gram(matrices)
    assert regained(g, identity, erased.rows, erased) == 1.0
    assert regained(g, identity, erased.targets, erased) == pytest.approx(0.0)
    assert regained(g, identity, answers, erased.unchanged()) == 0.0  # nothing was erased


def test_an_unedited_model_needs_no_other_row_than_the_concepts() -> None:
    row = numbers(3, 1, 5)
    found = attack(gram([numbers(0, 8, 5)]), torch.eye(5, dtype=torch.float64), row, 1e-9)
    torch.testing.assert_close(found, row)


def test_one_answered_attack_by_hand() -> None:
    model, config = tiny_model(), ReceConfig(rounds=1, attack_rel=0.05, enough=0.0)
    task = problems(model, TinyConcept(), ("memory",), "rece")["memory"]
    weights = model.weights().state_dict()
    g = gram([weights[name] for name in task.readers])
    change, shares = answered(task, g, config)

    identity = torch.eye(32, dtype=torch.float64)
    erased, lam = task.erased, config.uce.lam_rel
    first = identity + solve(weighed(erased, task.kept, config.uce), lam).change
    x = attack(g, first, erased.rows, 0.05)
    kept = task.kept.joined(erased.unchanged())
    again = solve(weighed(Contexts(x, erased.targets, erased.weights), kept, config.uce), lam)
    torch.testing.assert_close(change, first @ (identity + again.change) - identity)
    assert shares == [pytest.approx(regained(g, first, x, erased))]


def test_answers_leave_the_next_attack_less() -> None:
    log = erase(ReceConfig(rounds=3, enough=0.0)).log[0]
    for space in ("memory", "pool"):
        shares = [log[f"regained_{space}_{i}"] for i in range(3)]
        assert shares[0] > shares[1] + 0.01 > shares[2] + 0.02, shares


def test_an_attack_that_regains_little_is_not_answered() -> None:
    kv = UceConfig("kv")
    uce = Uce().erase(tiny_model(), TinyConcept(), kv, CONTEXT)
    edit = erase(ReceConfig(enough=0.9, uce=kv))
    assert set(edit.tensors) == set(uce.tensors)
    for name, value in edit.tensors.items():
        torch.testing.assert_close(value, uce.tensors[name])
    assert list(edit.log[0]) == ["regained_memory_0"]
    assert 0.5 < edit.log[0]["regained_memory_0"] < 0.9
    assert edit.notes == pytest.approx(uce.notes, rel=1e-3)


def test_it_is_known_by_name_and_takes_settings() -> None:
    assert isinstance(load_method("rece"), Rece)
    config = resolve("gallery", "smoke", "rece", ["method.rounds=2", "method.uce.target=h"])
    assert config.method == ReceConfig(rounds=2, uce=UceConfig("h"))
    for wrong in ({"rounds": 0}, {"attack_rel": 0.0}, {"enough": 1.0}):
        with pytest.raises(ValueError, match=next(iter(wrong))):
            ReceConfig(**wrong)  # type: ignore[arg-type]
