"""Teacher forcing at length: attention without a mask, recomputed blocks, bfloat16 blocks."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import pytest
import torch
from torch import Tensor, nn
from torch.utils._python_dispatch import TorchDispatchMode
from torch.utils._pytree import tree_leaves

from tests.helpers.guidance import Traced
from tests.helpers.infinity_tiny import (
    SCHEDULES,
    logits_and_gradients,
    model_of,
    pairs_of,
)
from varbench.models.common.execution import Execution, HasExecution
from varbench.models.common.sampling import ClassifierFreeGuidance
from varbench.models.infinity import attention
from varbench.models.infinity.model import InfinityModel
from varbench.models.infinity.text import TextCondition
from varbench.models.protocol import Rollout
from varbench.pipeline.estimate.live_bytes import LiveBytes


def dense(visible: str, levels: Tensor) -> Any:
    """One attention call over all keys with an ``[L, L]`` mask, in place of one per scale."""
    mask = {
        "own and earlier scales": levels[:, None] >= levels,
        "earlier scales only": (levels[:, None] > levels) | (levels[:, None] == 0) & (levels == 0),
        "everything": torch.ones(len(levels), len(levels), dtype=torch.bool),
    }[visible]

    def attend(q: Tensor, k: Tensor, v: Tensor, lengths: Sequence[int]) -> Tensor:
        weights = (q @ k.transpose(-1, -2)).masked_fill(~mask, -torch.inf).softmax(dim=-1)
        return (weights @ v).transpose(1, 2).flatten(2)

    return attend


@pytest.mark.parametrize("name", SCHEDULES)
def test_attention_by_scale_equals_the_dense_mask(
    name: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Logits and all gradients to 1e-5 in float32, a batch of prompts of different lengths."""
    schedule = SCHEDULES[name]
    model, (pairs, text) = model_of(schedule), pairs_of(schedule)
    levels = model.transformer.positions(schedule)[0]
    actual = logits_and_gradients(model, pairs, text)
    other = {}
    for visible in ("own and earlier scales", "earlier scales only", "everything"):
        monkeypatch.setattr(attention, "attend_by_scale", dense(visible, levels))
        other[visible] = logits_and_gradients(model, pairs, text)
    expected = other.pop("own and earlier scales")
    assert actual.keys() == expected.keys() and len(actual) > 40
    for key, value in actual.items():
        torch.testing.assert_close(value, expected[key], atol=1e-5, rtol=1e-5, msg=key)
    for visible, wrong in other.items():  # the tolerance sees a wrong mask
        assert (wrong["logits"] - actual["logits"]).abs().max() > 1e-2, visible


class Largest(TorchDispatchMode):
    """The most elements that any result of an operation has."""

    elements = 0

    def __torch_dispatch__(self, func: Any, types: Any, args: Any = (), kwargs: Any = None) -> Any:
        out = func(*args, **(kwargs or {}))
        sizes = [t.numel() for t in tree_leaves(out) if isinstance(t, Tensor)]
        self.elements = max([self.elements, *sizes])
        return out


def test_nothing_has_tokens_squared_elements(monkeypatch: pytest.MonkeyPatch) -> None:
    schedule = SCHEDULES["square, 0.06M"]
    model, (pairs, text) = model_of(schedule, depth=1), pairs_of(schedule, (4,))
    with Largest() as largest:
        logits_and_gradients(model, pairs, text)
    assert largest.elements < schedule.total**2
    levels = model.transformer.positions(schedule)[0]
    monkeypatch.setattr(attention, "attend_by_scale", dense("everything", levels))
    with Largest() as largest:
        logits_and_gradients(model, pairs, text)
    assert largest.elements >= schedule.total**2
    assert all(t.numel() <= 16 * schedule.total for t in model.transformer.positions(schedule))


@pytest.mark.parametrize("bf16", [False, True])
def test_recomputed_blocks_give_the_same_bits_in_less_memory(bf16: bool) -> None:
    schedule = SCHEDULES["square, 5 scales"]
    model, (pairs, text) = model_of(schedule, depth=4), pairs_of(schedule)
    actual, retained = [], []
    for checkpointing in (False, True):
        model.execution = Execution(bf16, checkpointing)
        actual.append(logits_and_gradients(model, pairs, text))
        with LiveBytes() as live:
            logits = model.logits(pairs, text)
            retained.append(live.now)
            del logits
    assert actual[0].keys() == actual[1].keys()
    for key, value in actual[0].items():
        assert torch.equal(value, actual[1][key]), key
    assert retained[1] < retained[0] / 4
    with torch.no_grad():
        assert torch.equal(model.logits(pairs, text), actual[0]["logits"])


def dtypes_of(model: InfinityModel, pairs: Rollout, text: TextCondition) -> dict[str, torch.dtype]:
    """The dtype that every module of the transformer puts out."""
    observed: dict[str, torch.dtype] = {}

    def keep(name: str) -> Any:
        def hook(module: nn.Module, inputs: Any, output: Any) -> None:
            if isinstance(output, Tensor):
                observed[name] = output.dtype

        return hook

    modules = model.transformer.named_modules()
    handles = [module.register_forward_hook(keep(name)) for name, module in modules]
    model.logits(pairs, text)
    for handle in handles:
        handle.remove()
    return observed


@pytest.mark.parametrize("weights", [torch.float32, torch.bfloat16])
def test_only_the_blocks_products_are_bfloat16(weights: torch.dtype) -> None:
    schedule = SCHEDULES["square, 5 scales"]
    model, (pairs, text) = model_of(schedule), pairs_of(schedule)
    assert isinstance(model, HasExecution)
    with torch.no_grad():
        exact = model.logits(pairs, text)
        assert set(dtypes_of(model, pairs, text).values()) == {torch.float32}
        model.execution = Execution(bf16=True)
        for p in model.block_parameters().values():
            p.data = p.data.to(weights)
        observed = dtypes_of(model, pairs, text)
        actual = model.logits(pairs, text)
    half = {name for name, dtype in observed.items() if dtype == torch.bfloat16}
    inside = ("sa", "sa.mat_qkv", "sa.proj", "ca", "ca.mat_q", "ca.mat_kv", "ca.proj")
    inside += ("ffn", "ffn.fc1", "ffn.fc2")
    assert half == {f"blocks.{i}.{name}" for i in range(2) for name in inside}
    assert actual.dtype == torch.float32
    error = (actual - exact).abs()
    assert float(error.max()) > 1e-4
    assert float(error.mean()) < 0.02 * float(exact.std())


def test_sampling_in_bfloat16_agrees_with_teacher_forcing() -> None:
    """Same execution, with a key/value cache and without: rounding apart, the same logits."""
    schedule = SCHEDULES["square, 5 scales"]
    model, (_, text) = model_of(schedule), pairs_of(schedule)
    differences = {}
    for bf16 in (False, True):
        model.execution = Execution(bf16=bf16)
        with torch.no_grad():
            plain = Traced(ClassifierFreeGuidance(1.0))
            rollout = model.generate(text, [("a", 0), ("b", 0), ("c", 0)], guidance=plain)
            forced = model.logits(rollout, text)
        assert forced.dtype == plain.logits.dtype == torch.float32
        differences[bf16] = float((forced - plain.logits).abs().mean())
        past = model.transformer.new_cache(model.read(text), schedule)[0]
        retained = {t.dtype for t in (past.keys, past.values, *past.text[0])}
        assert retained == {torch.bfloat16 if bf16 else torch.float32}
    assert differences[False] < 1e-5
    assert differences[True] < 0.02 * float(forced.std())
