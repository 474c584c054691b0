"""Images that go on from given scales: exact at both ends, and a loop without caches between."""

from __future__ import annotations

from dataclasses import dataclass, replace
from typing import Any

import pytest
import torch
from torch import Tensor

from tests.helpers import infinity_tiny, switti_tiny, tiny
from varbench.methods.base import Edit, applied
from varbench.models.capabilities import CompletesPrefix, require
from varbench.models.common.keyed_random import uniforms
from varbench.models.common.sampling import ClassifierFreeGuidance, inputs_from_tokens
from varbench.models.infinity.model import InfinityModel
from varbench.models.protocol import Condition, NextScaleModel, Rollout, Sampling

KEYS = [("one", 0), ("two", 0), ("two", 1)]
WEIGHT = 2.5


@dataclass(frozen=True)
class Case:
    """A model, prompts, images of others, and what is sampled without filters."""

    model: Any
    condition: Any
    prefix: Rollout

    @property
    def scales(self) -> int:
        return len(self.model.schedule.scales)

    def complete(self, count: int, **options: Any) -> Rollout:
        return require(self.model, CompletesPrefix, "test").complete(
            self.condition, self.prefix, count, KEYS, **options
        )


def infinity(batch: int = 50) -> Case:
    model = infinity_tiny.tiny_model(seed=3, batch=batch)
    condition = infinity_tiny.random_texts([5, 3, 8], 128, 8)
    others = infinity_tiny.random_texts([2, 6, 4], 128, 8, seed=9)
    return Case(model, condition, model.generate(others, [(f"other {i}", i) for i in range(3)]))


def switti(batch: int = 50, causal: bool = False) -> Case:
    model = switti_tiny.tiny_model(causal, batch)
    condition = switti_tiny.texts((7, 3, 5))
    others = model.encode(["a b", "c", "d e f"])
    return Case(model, condition, model.generate(others, [(f"other {i}", i) for i in range(3)]))


CASES = {"infinity": infinity, "switti": switti, "switti-ar": lambda: switti(causal=True)}


@pytest.fixture(scope="module", params=CASES)
def case(request: pytest.FixtureRequest) -> Case:
    return CASES[request.param]()


def same(a: Rollout, b: Rollout) -> bool:
    return torch.equal(a.tokens, b.tokens) and torch.equal(a.inputs, b.inputs)


def test_with_no_scale_given_it_is_generate(case: Case) -> None:
    assert same(case.complete(0), case.model.generate(case.condition, KEYS))


def test_with_all_scales_given_it_is_the_prefix_and_its_image(case: Case) -> None:
    completed = case.complete(case.scales)
    assert same(completed, case.prefix)
    assert torch.equal(case.model.decode(completed), case.model.decode(case.prefix))
    assert not torch.equal(completed.tokens, case.model.generate(case.condition, KEYS).tokens)


def test_a_models_own_scales_lead_to_its_own_image(case: Case) -> None:
    """Later scales have the random numbers of plain sampling, and caches are as they would be."""
    generated = case.model.generate(case.condition, KEYS)
    mine = replace(case, prefix=generated)
    for count in range(1, case.scales):
        assert same(mine.complete(count), generated)


def by_hand(case: Case, count: int, sampling: Sampling) -> Tensor:
    """Scale by scale by teacher forcing on all before; bits or indices by comparing sums."""
    model, tokens = case.model, case.prefix.tokens.clone()
    null = model.null(case.condition)
    for scale, rows in enumerate(model.schedule.slices()):
        if scale < count:
            continue
        tokens[:, rows.start :] = 0  # whatever it is, no earlier scale reads it
        inputs, _ = inputs_from_tokens(tokens, model.code_sum())
        history = Rollout(tokens, inputs, model.schedule)
        with torch.no_grad():
            with_text, without = (model.logits(history, c)[:, rows] for c in (case.condition, null))
        guided = WEIGHT * with_text + (1 - WEIGHT) * without
        p = (guided / sampling.temperature).double().softmax(-1)
        length, symbols = p.shape[1:3]
        numbers = uniforms(KEYS, scale, length, symbols, torch.device("cpu")).tolist()
        for b in range(len(KEYS)):
            for t in range(length):
                for d in range(symbols):
                    u, chances = numbers[b][t][d], p[b, t, d].tolist()
                    if len(chances) == 2:
                        symbol = int(u < chances[1])
                    else:
                        symbol = sum(u >= sum(chances[: i + 1]) for i in range(len(chances) - 1))
                    tokens[b, rows.start + t, d] = symbol
    return tokens


@pytest.mark.parametrize("count", [1, 3])
def test_between_the_ends_it_is_a_loop_without_caches(case: Case, count: int) -> None:
    sampling = Sampling(temperature=0.9, top_k=0, top_p=0)
    guidance = ClassifierFreeGuidance(WEIGHT)
    completed = case.complete(count, sampling=sampling, guidance=guidance)
    given = sum(case.model.schedule.lengths[:count])
    assert torch.equal(completed.tokens[:, :given], case.prefix.tokens[:, :given])
    assert torch.equal(completed.tokens, by_hand(case, count, sampling))
    assert not torch.equal(completed.tokens[:, given:], case.prefix.tokens[:, given:])


@pytest.mark.parametrize("make", [infinity, switti])
def test_images_keep_their_own_prefix_in_batches(make: Any) -> None:
    whole, singly = make(), make(batch=1)
    assert torch.equal(whole.complete(2).tokens, singly.complete(2).tokens)


def test_an_edited_model_continues_the_base_models_scales() -> None:
    model = tiny.tiny_model()
    text = model.encode(["a red cat", "a red dog", "hat"])
    generated = model.generate(text, KEYS)
    name = "blocks.0.ca.mat_kv.weight"
    edit = Edit({name: 3 * model.weights().state_dict()[name]})
    with applied(model, edit):
        edited = model.generate(text, KEYS)
        completed = [model.complete(text, generated, count, KEYS) for count in range(4)]
    assert same(completed[0], edited) and same(completed[3], generated)
    assert not torch.equal(edited.tokens, generated.tokens)
    last = slice(generated.schedule.total - generated.schedule.lengths[-1], None)
    assert not torch.equal(completed[1].tokens[:, last], edited.tokens[:, last])
    assert not torch.equal(completed[1].tokens[:, last], generated.tokens[:, last])


class Recording:
    """Guidance that keeps a state over the scales and looks at queries."""

    query_blocks = (1,)

    def __init__(self) -> None:
        self.seen: list[tuple[str, int, int]] = []

    def branches(self, model: NextScaleModel, condition: Condition) -> list[Condition]:
        return [condition, model.null(condition)]

    def see(self, scale: int, queries: list[Tensor]) -> None:
        self.seen.append(("see", scale, queries[0].shape[2]))

    def combine(self, scale: int, logits: list[Tensor]) -> Tensor:
        self.seen.append(("combine", scale, logits[0].shape[1]))
        return logits[0]


def test_guidance_sees_given_scales_too() -> None:
    case, recording = infinity(), Recording()
    case.complete(3, guidance=recording)
    lengths = case.model.schedule.lengths
    assert recording.seen == [
        (what, k, length) for k, length in enumerate(lengths) for what in ("see", "combine")
    ]


def test_what_does_not_fit_is_refused(case: Case) -> None:
    model: InfinityModel = case.model
    for count in (-1, case.scales + 1):
        with pytest.raises(ValueError, match="scales"):
            case.complete(count)
    with pytest.raises(ValueError, match="prefix of 2"):
        model.complete(case.condition, case.prefix.select([0, 1]), 1, KEYS)
    short = case.prefix.first_scales(2)
    assert torch.equal(
        model.complete(case.condition, short, 2, KEYS).tokens, case.complete(2).tokens
    )
    with pytest.raises(ValueError, match="the prefix has"):
        model.complete(case.condition, short, 3, KEYS)
