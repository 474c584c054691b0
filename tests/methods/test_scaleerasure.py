"""ScaleErasure: relevance, choice and mixture against loops; where it does nothing it is plain."""

from __future__ import annotations

import math
from dataclasses import dataclass, replace
from typing import Any

import pytest
import torch
from torch import Tensor

from tests.helpers import infinity_tiny, switti_tiny
from tests.helpers.tiny import TinyConcept, tiny_model
from varbench.baselines.scaleerasure import (
    ScaleErasure,
    ScaleErasureConfig,
    SelectiveGuidance,
    distance,
    steered_scales,
)
from varbench.models.capabilities import SeesQueries
from varbench.models.common.sampling import ClassifierFreeGuidance
from varbench.models.infinity.model import InfinityModel
from varbench.models.protocol import CapabilityError

PROMPTS = ["a red cat", "a blue dog on a car", "hat"]
KEYS = [(prompt, 3) for prompt in PROMPTS]
EVERYWHERE = ScaleErasureConfig(threshold=0, delta=1e9, first=0, end=1)


def guidance_of(
    model: InfinityModel, config: ScaleErasureConfig, weight: float = 2.0
) -> SelectiveGuidance:
    made = ScaleErasure().guidance(model, TinyConcept(), config, weight)
    assert isinstance(made, SelectiveGuidance)
    return made


class Recorder:
    """Shows what a guidance was given and what it made of it."""

    def __init__(self, inner: SelectiveGuidance) -> None:
        self.inner = inner
        self.query_blocks = inner.query_blocks
        self.seen: list[list[Tensor]] = []
        self.given: list[list[Tensor]] = []
        self.made: list[Tensor] = []

    def branches(self, model: Any, condition: Any) -> Any:
        return self.inner.branches(model, condition)

    def see(self, scale: int, queries: list[Tensor]) -> None:
        self.seen.append([q.clone() for q in queries])
        self.inner.see(scale, queries)

    def combine(self, scale: int, logits: list[Tensor]) -> Tensor:
        self.given.append([z.clone() for z in logits])
        self.made.append(self.inner.combine(scale, logits))
        return self.made[-1]


def dot(a: list[float], b: list[float]) -> float:
    return sum(x * y for x, y in zip(a, b, strict=True))


def mean_keys(model: InfinityModel, block: int, prompts: list[str]) -> list[list[list[float]]]:
    """Per prompt and head the mean key over the prompt's own rows, straight from the weights."""
    weight = model.transformer.blocks[block].ca.mat_kv.weight  # type: ignore[union-attr]
    means = []
    for prompt in prompts:
        text = model.encode([prompt])
        memory = model.read(text).memory_BTD[0, : int(text.lengths[0])]
        mean = (memory.mean(0) @ weight[:32].T).detach().double()  # type: ignore[union-attr, index]
        means.append(mean.view(2, 16).tolist())
    return means


def share_by_hand(queries: Tensor, keys: list[list[list[float]]], n: int, t: int) -> float:
    total = 0.0
    for head in range(2):
        q = queries[n, head, t].double().tolist()
        scores = []
        for key in keys:
            k = key[head]
            scores.append(dot(q, k) / math.sqrt(dot(k, k)) / 4)  # width of a head: 16
        total += math.exp(scores[0]) / sum(map(math.exp, scores)) / 2
    return total


def test_every_logit_is_the_formula() -> None:
    """Three images, all scales; relevance in the middle of its range, delta of the logits'."""
    model = tiny_model(seed=5)
    config = ScaleErasureConfig(
        others="tree sky", threshold=0.335, delta=0.3, growth=1.5, first=0.3, end=1, penalty=2.0
    )
    recorder = Recorder(guidance_of(model, config))
    assert isinstance(recorder, SeesQueries)
    model.generate(model.encode(PROMPTS), KEYS, guidance=recorder)
    assert list(recorder.inner.window) == [1, 2]
    keys = mean_keys(model, 1, ["red", "blue", "tree sky"])
    chosen, checked = 0, 0
    for scale, (given, made) in enumerate(zip(recorder.given, recorder.made, strict=True)):
        p, u, s, n = (z.double().tolist() for z in given)
        (queries,) = recorder.seen[scale]
        delta = 0.3 * 1.5 ** (scale * 13 / 3)
        for b in range(3):
            for t in range(len(p[b])):
                relevant = share_by_hand(queries, keys, b, t) >= 0.335
                for d in range(8):
                    plain = [2 * x - y for x, y in zip(p[b][t][d], u[b][t][d], strict=True)]
                    odds = [z[b][t][d][1] - z[b][t][d][0] for z in (p, n)]
                    wanted = plain
                    if scale and relevant and abs(odds[0] - odds[1]) / 2 < delta:
                        steered = zip(s[b][t][d], u[b][t][d], n[b][t][d], strict=True)
                        wanted = [2 * x - y - 2.0 * (z - y) for x, y, z in steered]
                        chosen += 1
                    checked += 1
                    assert made[b, t, d].tolist() == pytest.approx(wanted, abs=1e-4)
    assert 0.1 * checked < chosen < 0.9 * checked


def test_the_branches_are_the_prompt_nothing_the_safe_prompt_and_the_concept() -> None:
    model = tiny_model(seed=5)
    made = guidance_of(model, ScaleErasureConfig())
    condition = model.encode(PROMPTS)
    rows = [branch.rows for branch in made.branches(model, condition)]  # type: ignore[attr-defined]
    assert torch.equal(rows[0], condition.rows)
    for number, words in ((2, "blue"), (3, "red")):
        assert torch.equal(rows[number], model.encode([words] * 3).rows)
    null = made.branches(model, condition)[1]
    assert bool(null.is_null.all())  # type: ignore[attr-defined]
    named = replace(ScaleErasureConfig(), safe="a calm sea")
    safe = guidance_of(model, named).branches(model, condition)[2]
    assert torch.equal(safe.rows, model.encode(["a calm sea"] * 3).rows)  # type: ignore[attr-defined]


@pytest.mark.parametrize(
    "config",
    [
        replace(EVERYWHERE, delta=0),
        replace(EVERYWHERE, threshold=1.01),
    ],
    ids=["no symbol", "no token"],
)
def test_where_nothing_is_chosen_images_are_the_unerased_ones(config: ScaleErasureConfig) -> None:
    model = tiny_model(seed=5)
    text = model.encode(PROMPTS)
    plain = model.generate(text, KEYS, guidance=ClassifierFreeGuidance(2.0))
    found = model.generate(text, KEYS, guidance=guidance_of(model, config))
    assert torch.equal(found.tokens, plain.tokens)
    steered = model.generate(text, KEYS, guidance=guidance_of(model, EVERYWHERE))
    assert not torch.equal(steered.tokens, plain.tokens)


def test_where_everything_is_chosen_without_penalty_images_are_the_safe_prompts() -> None:
    model = tiny_model(seed=5)
    config = replace(EVERYWHERE, penalty=0, safe="a blue cat")
    generated = model.generate(
        model.encode(["a red cat"]), KEYS[:1], guidance=guidance_of(model, config)
    )
    safe = model.generate(
        model.encode(["a blue cat"]), KEYS[:1], guidance=ClassifierFreeGuidance(2.0)
    )
    assert torch.equal(generated.tokens, safe.tokens)


def test_before_and_after_the_window_sampling_is_plain() -> None:
    """Five scales of which the stated share is the second to the fourth."""
    model = infinity_tiny.tiny_model()
    texts = infinity_tiny.random_texts([3, 5, 4, 2], 128, 8)
    model.encode = lambda prompts: texts.select([i % 4 for i in range(len(prompts))])  # type: ignore[method-assign]
    recorder = Recorder(guidance_of(model, ScaleErasureConfig(threshold=0, delta=1e9)))
    model.generate(texts, [(str(i), 0) for i in range(4)], guidance=recorder)
    changed = []
    for scale, (given, made) in enumerate(zip(recorder.given, recorder.made, strict=True)):
        plain = ClassifierFreeGuidance(2.0).combine(scale, given[:2])
        changed.append(not torch.equal(made, plain))
    assert changed == [False, True, True, True, False]


def test_an_image_does_not_depend_on_its_neighbours() -> None:
    model = tiny_model(seed=5)
    config = replace(EVERYWHERE, threshold=0.332, delta=0.3)
    text = model.encode(PROMPTS)
    together = model.generate(text, KEYS, guidance=guidance_of(model, config))
    for i in range(3):
        alone = model.generate(
            text.select([i]), KEYS[i : i + 1], guidance=guidance_of(model, config)
        )
        assert torch.equal(alone.tokens, together.tokens[i : i + 1])


def test_the_stated_scales_and_blocks() -> None:
    config = ScaleErasureConfig()
    assert list(steered_scales(13, config)) == [2, 3, 4, 5, 6, 7]
    assert list(steered_scales(5, config)) == [1, 2, 3]
    assert list(steered_scales(7, config)) == [2, 3, 4]
    assert not steered_scales(1, config)
    assert guidance_of(tiny_model(), config).query_blocks == (1,)  # of two blocks


def test_distance_knows_no_common_shift() -> None:
    a, b = torch.randn(2, 3, 4, 5), torch.randn(2, 3, 4, 5)
    shift = torch.randn(2, 3, 4, 1)
    torch.testing.assert_close(distance(a + shift, b), distance(a, b), atol=1e-5, rtol=1e-5)
    bits = torch.tensor([[[[0.5, -0.5], [3.0, 4.0]]]])
    torch.testing.assert_close(distance(bits, -bits), torch.tensor([[[1.0, 1.0]]]))


def test_missing_capabilities_and_bad_settings_are_refused() -> None:
    @dataclass(frozen=True)
    class Nothing(TinyConcept):
        replacement: tuple[str, ...] = ()

    method, config = ScaleErasure(), ScaleErasureConfig()
    with pytest.raises(CapabilityError, match="needs a model that offers HasTextAttention"):
        method.guidance(switti_tiny.tiny_model(), TinyConcept(), config, 2.0)
    model = tiny_model()
    drawn = model.generate(model.encode(["a cat"]), KEYS[:1])

    def safe(prompt: str) -> list[Tensor]:
        made = method.guidance(model, Nothing(), replace(config, safe=prompt), 2.0)
        return [model.logits(drawn, made.safe)]

    torch.testing.assert_close(safe(""), safe("a picture"), rtol=0, atol=0)
    assert not torch.equal(safe("")[0], safe("a house")[0])
    with pytest.raises(CapabilityError, match="blocks 0 to 1 only"):
        method.guidance(tiny_model(), TinyConcept(), replace(config, blocks=(2, 7)), 2.0)
    with pytest.raises(CapabilityError, match="none of tiny's 3 scales"):
        method.guidance(tiny_model(), TinyConcept(), replace(config, first=0.1, end=0.2), 2.0)
    for settings, message in (
        ({"first": 0.5, "end": 0.5}, "first < end"),
        ({"penalty": -1}, "must not be negative"),
        ({"growth": 0}, "growth must be positive"),
        ({"blocks": ()}, "blocks must be numbers"),
    ):
        with pytest.raises(ValueError, match=message):
            ScaleErasureConfig(**settings)  # type: ignore[arg-type]
