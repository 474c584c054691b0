"""ESD: target, bound and losses against loops over single symbols, and what each variant trains."""

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
from varbench.baselines.esd import (
    TARGETS,
    Esd,
    EsdConfig,
    bounded,
    esd_target,
    log_odds_distance,
)
from varbench.conf.compose import resolve
from varbench.conf.schema import plain
from varbench.errors import UserError
from varbench.methods.base import applied
from varbench.methods.leakage import leakage
from varbench.methods.training.config import FineTuneConfig
from varbench.methods.training.losses import ScaleWeights
from varbench.methods.training.objective import Batch
from varbench.methods.training.parameters import trained_parameters
from varbench.methods.training.rollouts import RolloutConfig, pair_rollouts
from varbench.models.protocol import trainable

BOTH = pytest.mark.parametrize("build", [tiny_model, switti_tiny.tiny_model], ids=["bits", "index"])
ALL = Batch(0, list(range(6)), [False] * 6)


def settings(steps: int = 1, **changes: Any) -> EsdConfig:
    return EsdConfig(train=replace(TRAIN, steps=steps, batch=6), **changes)


def random_logits(seed: int, values: int) -> Tensor:
    generator = torch.Generator().manual_seed(seed)
    return 3 * torch.randn(2, 5, 4, values, generator=generator)


@pytest.mark.parametrize("eta", [-1.0, 0.0, 1.0, 2.5])
@pytest.mark.parametrize("z_max", [0.0, 4.0])
def test_target_of_bits_is_the_formula_on_log_odds(eta: float, z_max: float) -> None:
    concept, null = random_logits(1, 2), random_logits(2, 2)
    target = esd_target(concept, null, eta, z_max)
    beyond = 0
    for place_ in torch.cartesian_prod(torch.arange(2), torch.arange(5), torch.arange(4)).tolist():
        zc, z0, margin = (
            float(t[tuple(place_)][1]) - float(t[tuple(place_)][0]) for t in (concept, null, target)
        )
        expected = (1 + eta) * z0 - eta * zc
        beyond += abs(expected) > 4
        if z_max:
            expected = max(-z_max, min(z_max, expected))
        assert margin == pytest.approx(expected, abs=1e-4)
    assert beyond  # or the bound was not tested


def test_target_of_index_tokens_is_the_formula_on_probabilities() -> None:
    concept, null = random_logits(3, 7), random_logits(4, 7)
    target = esd_target(concept, null, 1.5, 0).softmax(-1)
    rows = zip(*(t.double().flatten(0, 2).tolist() for t in (concept, null, target)), strict=True)
    for c, u, found in rows:
        powers = [a**2.5 / b**1.5 for a, b in zip(probabilities(u), probabilities(c), strict=True)]
        assert found == pytest.approx([p / sum(powers) for p in powers], abs=1e-5)


def test_the_bound_is_on_the_likeliest_against_all_others() -> None:
    peaked = torch.zeros(1, 1, 1, 9)
    peaked[..., 4] = 50
    for z_max in (2.0, 8.0):
        p = float(bounded(peaked, z_max).double().softmax(-1)[..., 4])
        assert math.log(p / (1 - p)) == pytest.approx(z_max, abs=1e-4)
    flat = random_logits(5, 9) / 10
    assert torch.equal(bounded(flat, 8.0), flat)


@pytest.mark.parametrize("values", [2, 6])
def test_mse_is_the_mean_over_pairs_of_log_odds(values: int) -> None:
    student, target = random_logits(6, values), random_logits(7, values)
    distance = log_odds_distance(student, target)
    for z, t, distances in zip(
        student.flatten(0, 2).tolist(),
        target.flatten(0, 2).tolist(),
        distance.flatten().tolist(),
        strict=True,
    ):
        pairs = [(v, w) for v in range(values) for w in range(v)]
        squares = [((z[v] - z[w]) - (t[v] - t[w])) ** 2 for v, w in pairs]
        assert distances == pytest.approx(sum(squares) / len(pairs), rel=1e-3)


def first_loss_by_hand(build: Any, config: EsdConfig, weights: list[float]) -> float:
    """From the formulas, symbol by symbol; no target is beyond the bound."""
    model, pairs = build(), TinyConcept().pairs()
    text = model.encode([pair.concept for pair in pairs])
    rollout = pair_rollouts(model, pairs, RolloutConfig(), 0, config.prefix)
    prompted = model.logits(rollout, text).detach().double()
    null = model.logits(rollout, model.null(text)).detach().double()
    total = 0.0
    for weight, rows in zip(weights, rollout.schedule.slices(), strict=True):
        losses = []
        for c, u in zip(
            prompted[:, rows].flatten(0, 2).tolist(),
            null[:, rows].flatten(0, 2).tolist(),
            strict=True,
        ):
            t = [(1 + config.eta) * b - config.eta * a for a, b in zip(c, u, strict=True)]
            if config.loss == "mse":
                pairs_ = [(v, w) for v in range(len(c)) for w in range(v)]
                squares = [((c[v] - c[w]) - (t[v] - t[w])) ** 2 for v, w in pairs_]
                losses.append(sum(squares) / len(pairs_))
            else:
                p, q = probabilities(t), probabilities(c)
                losses.append(sum(a * math.log(a / b) for a, b in zip(p, q, strict=True)))
        total += weight * sum(losses) / len(losses)
    return total


@BOTH
@pytest.mark.parametrize("loss", ["kl", "mse"])
@pytest.mark.parametrize(
    ("prefix", "scheme"), [("concept", "uniform"), ("neutral", "side"), ("mixed", "first_m")]
)
def test_the_first_loss_is_the_formula(
    build: Any, loss: str, prefix: str, scheme: str, tmp_path: Path
) -> None:
    config = settings(eta=0.7, loss=loss, z_max=0, prefix=prefix, scales=ScaleWeights(scheme, 2))
    edit = Esd().erase(build(), TinyConcept(), config, context(tmp_path))
    count = len(build().schedule.scales)
    weights = {
        "uniform": [1 / count] * count,
        "side": [float(k) for k in ((1, 2, 4) if count == 3 else (1, 2, 3, 4))],
        "first_m": [0.5, 0.5] + [0.0] * (count - 2),
    }[scheme]
    weights = [w / sum(weights) for w in weights]
    expected = first_loss_by_hand(build, config, weights)
    assert edit.log[0]["erase"] == pytest.approx(expected, rel=1e-3)


@BOTH
@pytest.mark.parametrize("loss", ["kl", "mse"])
def test_eta_minus_one_leaves_neither_loss_nor_gradient(build: Any, loss: str) -> None:
    losses = {}
    for eta in (-1.0, 1.0):
        model = build()
        config = settings(eta=eta, loss=loss, z_max=0)
        objective = Esd().objective(model, TinyConcept(), config, 0)
        value = objective.term("erase", ALL)[0].value
        value.backward()
        some = trainable(model, ["all"]).values()
        norm = math.sqrt(sum(float(p.grad.square().sum()) for p in some if p.grad is not None))
        losses[eta] = (float(value.detach()), norm)
    assert abs(losses[-1.0][0]) < 1e-6 < 1e-2 < losses[1.0][0]
    assert losses[-1.0][1] < 1e-5 * losses[1.0][1]


def test_every_row_trains_on_its_own_roll_out_and_target() -> None:
    objective = Esd().objective(tiny_model(), TinyConcept(), settings(eta=-1, z_max=0), 0)
    batch = Batch(0, [4, 1], [False, False])
    assert abs(float(objective.term("erase", batch)[0].value.detach())) < 1e-6
    objective.target = objective.target.roll(1, 0)
    assert float(objective.term("erase", batch)[0].value.detach()) > 1e-3


@BOTH
def test_variants_are_nested_and_disjoint_as_they_say(build: Any) -> None:
    model = build()
    sets = {name: set(trainable(model, parts)) for name, parts in TARGETS.items()}
    assert sets["x-strict"] < sets["x"]
    for a, b in (("x", "u"), ("x", "p"), ("u", "p")):
        assert not sets[a] & sets[b]
    assert sets["x+p"] == sets["x"] | sets["p"]
    assert sets["all"] == {name for name, _ in model.weights().named_parameters()}
    assert all(part < sets["all"] for name, part in sets.items() if name != "all")


def test_variants_of_infinity_cover_what_they_say() -> None:
    """All of cross-attention; the other layers of the blocks; all ways of the pooled text."""
    model = tiny_model()
    sets = {name: set(trainable(model, parts)) for name, parts in TARGETS.items()}
    every = {name for name, _ in model.weights().named_parameters()}
    assert sets["x"] == {n for n in every if n.startswith("blocks.") and ".ca." in n}
    assert sets["x-strict"] == {n for n in sets["x"] if n.endswith(("mat_kv.weight", "ca.v_bias"))}
    assert len(sets["x-strict"]) == 2 * len(model.transformer.blocks)
    layers = {n for n in every if n.startswith("blocks.") and not n.endswith("ada_gss")}
    assert sets["u"] == {n for n in layers if ".ca." not in n and ".ca_norm." not in n}
    assert sets["p"] == {
        n for n in every if n.startswith(("text_proj_for_sos.", "shared_ada_lin."))
    }


@BOTH
@pytest.mark.parametrize("target", TARGETS)
def test_erasing_lowers_the_loss_in_the_stated_parts_alone(
    build: Any, target: str, tmp_path: Path
) -> None:
    model = build()
    before = {k: v.clone() for k, v in model.weights().state_dict().items()}
    edit = Esd().erase(model, TinyConcept(), settings(20, target=target), context(tmp_path))
    assert edit.log[-1]["erase"] < 0.9 * edit.log[0]["erase"]
    assert set(edit.tensors) == set(trainable(model, TARGETS[target]))
    assert any(not torch.equal(v, before[k]) for k, v in edit.tensors.items())
    assert all(torch.equal(v, before[k]) for k, v in model.weights().state_dict().items())
    assert edit.notes == leakage(model, edit, TinyConcept().pairs(), 0)


@BOTH
def test_the_prediction_moves_off_the_concept(build: Any, tmp_path: Path) -> None:
    model = build()
    edit = Esd().erase(model, TinyConcept(), settings(20, target="all"), context(tmp_path))
    objective = Esd().objective(model, TinyConcept(), settings(), 0)
    text, rollout = objective.text, objective.rollout
    with torch.no_grad():
        prompted, null = model.logits(rollout, text), model.logits(rollout, model.null(text))
        with applied(model, edit):
            moved = model.logits(rollout, text)
    prompted, null, moved = (z - z.mean(-1, keepdim=True) for z in (prompted, null, moved))
    assert float(((moved - prompted) * (null - prompted)).sum()) > 0


def test_dropped_texts_are_the_null_condition() -> None:
    model = tiny_model()
    objective = Esd().objective(model, TinyConcept(), settings(eta=0, z_max=0), 0)
    dropped = objective.term("erase", replace(ALL, drop=[True] * 6))[0]
    assert abs(float(dropped.value.detach())) < 1e-6  # the target with eta = 0 is the null's
    assert float(objective.term("erase", ALL)[0].value.detach()) > 1e-2


@pytest.mark.parametrize("target", TARGETS)
def test_the_resolved_settings_tell_what_is_trained(target: str) -> None:
    resolved = resolve("gallery", "smoke", "esd", [f"method.target={target}", "method.scales.m=2"])
    assert plain(resolved.method)["train"]["parts"] == list(TARGETS[target])
    assert resolved.method.scales.m == 2
    assert resolved.method.train.batch == 8 != FineTuneConfig().batch
    model = tiny_model()
    assert set(trained_parameters(model, resolved.method.train)) == set(
        trainable(model, TARGETS[target])
    )


def test_parts_are_the_targets_business() -> None:
    with pytest.raises(UserError, match="set target, not"):
        resolve("gallery", "smoke", "esd", ["method.train.parts=[ffn]"])


@pytest.mark.parametrize(
    ("changes", "message"),
    [
        ({"target": "y"}, "x, x-strict, u, p, x"),
        ({"loss": "l1"}, "kl, mse"),
        ({"prefix": "both"}, "neutral, concept, mixed"),
        ({"eta": -2}, "at least -1"),
        ({"z_max": -1}, "0 for none"),
        ({"rollout": RolloutConfig(guided_teacher=True)}, "set it to false"),
    ],
    ids=str,
)
def test_bad_settings_are_refused(changes: dict[str, Any], message: str) -> None:
    with pytest.raises(ValueError, match=message):
        EsdConfig(**changes)
