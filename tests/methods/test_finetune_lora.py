"""Low-rank adapters: the edit is the merged change, and the model comes back as it was."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest
import torch
from torch import nn

from tests.helpers.tiny import TinyConcept, tiny_model
from tests.helpers.training import (
    TRAINED,
    KillAt,
    Killed,
    assert_same_bits,
    config_of,
    context,
    snapshot,
)
from varbench.methods.base import Edit, applied
from varbench.methods.registry import load_method
from varbench.methods.training.parameters import adapters
from varbench.models.protocol import CapabilityError, trainable

LORA = {"lora_rank": 3, "lora_alpha": 6.0}
LOW_RANK = [name for name in TRAINED if name not in ("salun", "fmn")]
"""``salun`` masks whole matrices; to ``fmn`` part of the last block makes no difference."""
PARTS = ("cross_attention", "ffn")


def erase(name: str, tmp_path: Path, seed: int = 0, **changes: Any) -> Edit:
    method = load_method(name)
    model = tiny_model()
    before = snapshot(model)
    config = config_of(method, **LORA | changes)
    edit = method.erase(model, TinyConcept(), config, context(tmp_path, seed))
    assert_same_bits(model, before)
    return edit


@pytest.mark.parametrize("precision", ["fp32", "bf16"])
@pytest.mark.parametrize("name", LOW_RANK)
def test_an_edit_is_a_low_rank_change_of_the_parts_matrices(
    name: str, precision: str, tmp_path: Path
) -> None:
    edit = erase(name, tmp_path, precision=precision)
    model = tiny_model()
    parts = ("cross_attention",) if name == "esd" else PARTS  # its `target` chooses
    matrices = [n for n, p in trainable(model, parts).items() if p.ndim == 2]
    assert sorted(edit.tensors) == sorted(matrices)
    weights = model.weights().state_dict()
    for key, value in edit.tensors.items():
        change = (value.double() - weights[key].double()).numpy()
        singular = torch.linalg.svdvals(torch.from_numpy(change))
        assert value.dtype == torch.float32
        assert float(singular[0]) > 1e-5
        assert float(singular[3]) < 1e-5 * max(1.0, float(singular[0]))


def test_the_merged_weights_compute_what_the_adapters_did() -> None:
    model = tiny_model()
    text = model.encode(["a red cat", "a dog"])
    pairs = model.generate(text, [("a", 0), ("b", 0)])
    originals = {n: p.detach().clone() for n, p in model.weights().named_parameters()}
    chosen = trainable(model, PARTS)
    with torch.no_grad():
        plain = model.logits(pairs, text)
        with adapters(model.weights(), chosen, rank=2, alpha=5.0, seed=0) as made:
            assert torch.equal(model.logits(pairs, text), plain)  # the product starts at zero
            generator = torch.Generator().manual_seed(3)
            for p in made.parameters.values():
                p.copy_(0.3 * torch.randn(p.shape, generator=generator))
            adapted = model.logits(pairs, text)
            merged = made.merged(originals)
            factors = {n: p.detach().clone() for n, p in made.parameters.items()}
        with applied(model, Edit(merged)):
            torch.testing.assert_close(model.logits(pairs, text), adapted, atol=1e-5, rtol=1e-5)
        assert torch.equal(model.logits(pairs, text), plain)
    assert (adapted - plain).abs().max() > 0.1
    for name, value in merged.items():  # W + alpha / rank * B A
        stem = name.removesuffix(".weight")
        a, b = (factors[f"{stem}.lora_{x}.default.weight"] for x in "AB")
        torch.testing.assert_close(value, originals[name] + 2.5 * b @ a, atol=1e-6, rtol=1e-6)


def test_adapters_leave_no_trace() -> None:
    model = tiny_model()
    modules = dict(model.weights().named_modules())
    attributes = set(vars(model.weights()))
    state = torch.random.get_rng_state()
    with adapters(model.weights(), trainable(model, PARTS), 2, 4.0, seed=0) as made:
        assert len(made.layers) == 5 * model.transformer.config.depth
        assert len(made.parameters) == 2 * len(made.layers)
        assert all(p.dtype == torch.float32 for p in made.parameters.values())
    now = dict(model.weights().named_modules())
    assert now.keys() == modules.keys()
    assert all(now[name] is module for name, module in modules.items())
    assert set(vars(model.weights())) == attributes
    assert torch.equal(torch.random.get_rng_state(), state)


def test_same_seed_same_edit_other_seed_another(tmp_path: Path) -> None:
    edits = [erase("vare", tmp_path, seed).tensors for seed in (3, 3, 4)]
    assert all(torch.equal(value, edits[1][key]) for key, value in edits[0].items())
    assert not all(torch.equal(value, edits[2][key]) for key, value in edits[0].items())


def test_a_killed_training_resumes_to_the_same_bits(tmp_path: Path) -> None:
    method = load_method("vare")
    config = config_of(method, **LORA, steps=56)
    straight = method.erase(tiny_model(), TinyConcept(), config, context(tmp_path / "a"))
    with pytest.raises(Killed):
        method.erase(tiny_model(), TinyConcept(), config, context(tmp_path / "b", 0, KillAt(53)))
    assert (tmp_path / "b" / "scratch.pt").stat().st_size < 200_000  # the factors, no matrices
    resumed = method.erase(tiny_model(), TinyConcept(), config, context(tmp_path / "b"))
    assert all(torch.equal(v, resumed.tensors[k]) for k, v in straight.tensors.items())
    assert straight.log == resumed.log


def test_parts_without_matrices_are_refused() -> None:
    with (
        pytest.raises(CapabilityError, match="linear layers"),
        adapters(nn.Linear(3, 3), ["bias"], 2, 4.0, seed=0),
    ):
        pass
