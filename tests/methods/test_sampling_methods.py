"""SLD and the negative prompt: formulas by loops, limits that are plain guidance, independence."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import replace
from typing import Any

import pytest
import torch
from torch import Tensor

from tests.helpers import switti_tiny
from tests.helpers.tiny import TinyConcept, tiny_model
from varbench.baselines.neg_prompt import NegativePrompt, NegPrompt, NegPromptConfig
from varbench.baselines.sld import SafeGuidance, Sld, SldConfig, resized
from varbench.errors import UserError
from varbench.methods.base import SamplingMethod
from varbench.methods.registry import load_method
from varbench.models.common.sampling import ClassifierFreeGuidance
from varbench.models.protocol import Schedule

BUILDS = [
    tiny_model,
    switti_tiny.tiny_model,
    lambda batch=50: switti_tiny.tiny_model(causal=True, batch=batch),
]
EACH = pytest.mark.parametrize("build", BUILDS, ids=["bits", "index", "index-ar"])
PROMPTS = ["a red cat", "a blue dog", "the red hat"]
KEYS = [(prompt, seed) for seed, prompt in enumerate(PROMPTS)]
SCHEDULE = Schedule(((1, 1), (2, 2), (3, 4)))
MOST = SldConfig(scale=3.0, threshold=0.4, momentum=0.5, decay=0.7)


def guidance(name: str, model: Any, config: Any = None, weight: float = 3.0) -> Any:
    method = load_method(name)
    assert isinstance(method, SamplingMethod)
    return method.guidance(model, TinyConcept(), config or method.Config(), weight)


def branches(seed: int, schedule: Schedule = SCHEDULE, values: int = 2) -> list[list[Tensor]]:
    """Per scale the logits of prompt, null and concept for two images of three symbols."""
    generator = torch.Generator().manual_seed(seed)
    shapes = [(2, length, 3, values) for length in schedule.lengths]
    return [
        [torch.randn(shape, generator=generator, dtype=torch.double) for _ in range(3)]
        for shape in shapes
    ]


def centre(z: Sequence[float]) -> list[float]:
    return [v - sum(z) / len(z) for v in z]


def grown(values: dict[Any, float], old: tuple[int, int], new: tuple[int, int]) -> dict[Any, float]:
    """Bilinear, cell centres aligned, border repeated; keys (image, row, column, rest)."""
    made = {}
    for b, rest in {(k[0], k[3]) for k in values}:
        for i in range(new[0]):
            for j in range(new[1]):
                total = 0.0
                y = min(max((i + 0.5) * old[0] / new[0] - 0.5, 0), old[0] - 1)
                x = min(max((j + 0.5) * old[1] / new[1] - 0.5, 0), old[1] - 1)
                for r in range(old[0]):
                    for c in range(old[1]):
                        share = max(0, 1 - abs(r - y)) * max(0, 1 - abs(c - x))
                        total += share * values[b, r, c, rest]
                made[b, i, j, rest] = total
    return made


def sld_by_hand(
    scales: list[list[Tensor]], schedule: Schedule, config: SldConfig, weights: Sequence[float]
) -> list[list[list[float]]]:
    """Guided, centred logits per scale and symbol, one number at a time."""
    nu: dict[Any, float] = {}
    made = []
    for k, (height, width) in enumerate(schedule.scales):
        nu = grown(nu, schedule.scales[k - 1], (height, width)) if k else {}
        nu_next, guided = {}, []
        count, length, symbols, values = scales[k][0].shape
        for b, t, d in torch.cartesian_prod(*map(torch.arange, (count, length, symbols))).tolist():
            zp, zu, zs = (centre(z[b, t, d].tolist()) for z in scales[k])
            out = []
            for v in range(values):
                place = (b, t // width, t % width, (d, v))
                mu = 0.0
                if zp[v] - zs[v] < config.threshold:
                    mu = min(1.0, config.scale * abs(zp[v] - zs[v]))
                gamma = mu * (zs[v] - zu[v]) + config.momentum * nu.get(place, 0.0)
                nu_next[place] = config.decay * nu.get(place, 0.0) + (1 - config.decay) * gamma
                used = gamma if k >= config.warmup else 0.0
                out.append(zu[v] + weights[k] * (zp[v] - zu[v] - used))
            guided.append(centre(out))
        nu = nu_next
        made.append(guided)
    return made


@pytest.mark.parametrize("values", [2, 5])
@pytest.mark.parametrize("warmup", [0, 1])
@pytest.mark.parametrize("weights", [3.0, (1.0, 2.0, 4.0)], ids=["even", "growing"])
def test_sld_is_the_formula(values: int, warmup: int, weights: Any) -> None:
    config, scales = replace(MOST, warmup=warmup), branches(values, values=values)
    model = tiny_model()
    steered = SafeGuidance(ClassifierFreeGuidance(weights), model.encode(["red"]), SCHEDULE, config)
    each = weights if isinstance(weights, tuple) else (weights,) * 3
    expected = sld_by_hand(scales, SCHEDULE, config, each)
    for _ in range(2):  # the second group of images starts anew
        for k, logits in enumerate(scales):
            found = [centre(z) for z in steered.combine(k, logits).flatten(0, 2).tolist()]
            torch.testing.assert_close(
                torch.tensor(found), torch.tensor(expected[k]), atol=1e-5, rtol=1e-5
            )


def test_sld_on_bits_in_log_odds() -> None:
    """No momentum: half of gamma where one value is steered, all of it where both are."""
    config = SldConfig(scale=2.0, threshold=0.3, momentum=0)
    steered = SafeGuidance(
        ClassifierFreeGuidance(3.0), tiny_model().encode(["red"]), SCHEDULE, config
    )
    logits = branches(9)[2]
    found = steered.combine(0, [z[:, :1] for z in logits])
    odds = [(z[:, :1, :, 1] - z[:, :1, :, 0]).flatten().tolist() for z in (*logits, found)]
    seen = set()
    for p, u, s, out in zip(*odds, strict=True):
        half = abs(p - s) / 2
        share = 1.0 if half < 0.3 else 0.5
        seen.add(share)
        gamma = share * min(1.0, 2.0 * half) * (s - u)
        assert out == pytest.approx(u + 3 * (p - u - gamma), abs=1e-5)
    assert seen == {1.0, 0.5}


def test_sld_does_not_care_which_value_of_a_bit_is_called_one() -> None:
    scales = branches(3)
    made = []
    for flip in (False, True):
        steered = SafeGuidance(
            ClassifierFreeGuidance(3.0), tiny_model().encode(["red"]), SCHEDULE, MOST
        )
        made.append(
            [steered.combine(k, [z.flip(-1) if flip else z for z in zs])
             for k, zs in enumerate(scales)]
        )  # fmt: skip
    for plain, flipped in zip(*made, strict=True):
        torch.testing.assert_close(flipped.flip(-1), plain)


def test_resizing_keeps_rows_columns_and_symbols_apart() -> None:
    values = torch.arange(2 * 4 * 3 * 2).double().view(2, 4, 3, 2)
    assert torch.equal(resized(values, (2, 2), (2, 2)), values)
    taller = resized(values, (2, 2), (4, 2)).view(2, 4, 2, 3, 2)
    assert torch.equal(taller[:, 0], values.view(2, 2, 2, 3, 2)[:, 0])
    assert torch.equal(taller[:, 3], values.view(2, 2, 2, 3, 2)[:, 1])


@EACH
@pytest.mark.parametrize("weight", [1.0, 3.0])
def test_sld_without_strength_is_plain_guidance(build: Any, weight: float) -> None:
    """Bit for bit on the same logits, and in the images."""
    model = build()
    config = SldConfig(scale=0.0, momentum=0.9)
    steered = guidance("sld", model, config, weight)
    unsteered = model.guidance(weight)
    for k, (prompt, null, concept) in enumerate(branches(4, model.schedule)):
        branch = [z.float() for z in (prompt, null, concept)]
        plain = unsteered.combine(k, branch[:1] if weight == 1 else branch[:2])
        assert torch.equal(steered.combine(k, branch), plain)
    text = model.encode(PROMPTS)
    made = model.generate(text, KEYS, guidance=steered)
    assert torch.equal(made.tokens, model.generate(text, KEYS, guidance=unsteered).tokens)


@EACH
def test_warmup_over_all_scales_is_plain_guidance(build: Any) -> None:
    model = build()
    late = replace(MOST, warmup=len(model.schedule.scales))
    text = model.encode(PROMPTS)
    made = model.generate(text, KEYS, guidance=guidance("sld", model, late))
    plain = model.generate(text, KEYS, guidance=model.guidance(3.0))
    assert torch.equal(made.tokens, plain.tokens)


@EACH
def test_the_null_condition_as_the_negative_is_plain_guidance(build: Any) -> None:
    """The prompts have one length, of which an Infinity's null condition depends."""
    model = build()
    text, unsteered = model.encode(PROMPTS), model.guidance(3.0)
    against = NegativePrompt(unsteered, model.null(text).select([0]))
    made = model.generate(text, KEYS, guidance=against)
    plain = model.generate(text, KEYS, guidance=unsteered)
    assert torch.equal(made.tokens, plain.tokens)
    assert torch.equal(made.inputs, plain.inputs)


@EACH
def test_the_negative_prompt_stands_in_the_nulls_place(build: Any) -> None:
    model = build()
    against = guidance("neg-prompt", model)
    text = model.encode(PROMPTS)
    assert len(against.branches(model, text)) == 2
    assert len(against.branches(model, text)[1]) == 3
    rollout = model.generate(text, KEYS)
    negative = model.encode(["red"] * 3)
    prompt, red = model.logits(rollout, text), model.logits(rollout, negative)
    given = [model.logits(rollout, b) for b in against.branches(model, text)]
    last = len(model.schedule.scales) - 1  # where Switti's guidance has all its weight
    rows = list(model.schedule.slices())[last]
    found = against.combine(last, [z[:, rows] for z in given])
    torch.testing.assert_close(found, 3 * prompt[:, rows] - 2 * red[:, rows])


@EACH
@pytest.mark.parametrize("name", ["sld", "neg-prompt"])
def test_images_are_steered_and_do_not_depend_on_their_neighbours(build: Any, name: str) -> None:
    """One image at a time: a batch of three is three batches of one."""
    model = build(batch=1)
    steered = guidance(name, model)
    together = model.generate(model.encode(PROMPTS), KEYS, guidance=steered)
    for i, prompt in enumerate(PROMPTS):
        alone = model.generate(model.encode([prompt]), [KEYS[i]], guidance=steered)
        assert torch.equal(alone.tokens[0], together.tokens[i])
        assert torch.equal(alone.inputs[0], together.inputs[i])
    plain = model.generate(model.encode(PROMPTS), KEYS, guidance=model.guidance(3.0))
    assert not torch.equal(plain.tokens, together.tokens)


@pytest.mark.parametrize(("name", "place"), [("sld", 2), ("neg-prompt", 1)])
def test_the_concepts_wording_can_be_given(name: str, place: int) -> None:
    concept = TinyConcept(synonyms=("crimson",))
    model, method = tiny_model(), load_method(name)
    text = model.encode(PROMPTS)
    for prompt, expected in (("", "red, crimson"), ("a red thing", "a red thing")):
        steered = method.guidance(model, concept, method.Config(prompt=prompt), 2.0)  # type: ignore[union-attr]
        said = steered.branches(model, text)[place]
        assert torch.equal(said.rows, model.encode([expected] * 3).rows)  # type: ignore[attr-defined]


def test_bad_settings_are_refused() -> None:
    with pytest.raises(UserError, match=r"model\.sampling\.guidance"):
        NegPrompt().guidance(tiny_model(), TinyConcept(), NegPromptConfig(), 1.0)
    assert Sld().guidance(tiny_model(), TinyConcept(), SldConfig(), 1.0)
    for changes in ({"scale": -1.0}, {"momentum": -0.1}, {"warmup": -1}):
        with pytest.raises(ValueError, match="negative"):
            SldConfig(**changes)  # type: ignore[arg-type]
    with pytest.raises(ValueError, match="share"):
        SldConfig(decay=1.5)
