"""Switti: who sees whom, teacher forcing and sampling agree, keys decide images."""

from __future__ import annotations

from dataclasses import replace

import pytest
import torch
from torch import Tensor

from tests.helpers.guidance import Traced
from tests.helpers.switti_literal import literal_logits
from tests.helpers.switti_tiny import (
    SCHEDULE,
    TRANSFORMER,
    HashedText,
    texts,
    tiny_model,
    tokenizer,
)
from varbench.data.prompt import prompt_id
from varbench.models.common.keyed_random import uniforms
from varbench.models.common.sampling import ClassifierFreeGuidance, inputs_from_tokens
from varbench.models.protocol import (
    CapabilityError,
    NextScaleModel,
    Rollout,
    Sampling,
    Schedule,
    trainable,
)
from varbench.models.switti.attention import rope_tables
from varbench.models.switti.config import TransformerConfig
from varbench.models.switti.model import SwittiModel
from varbench.models.switti.tokenizer import CodebookSum
from varbench.models.switti.transformer import SwittiTransformer

KEYS = [(prompt_id(f"prompt {i}"), i) for i in range(4)]
BOTH = pytest.mark.parametrize("causal", [False, True], ids=["switti", "ar"])
ROWS = list(SCHEDULE.slices())


def trace(model: SwittiModel, sampling: Sampling) -> tuple[Rollout, Tensor]:
    """A roll-out without guidance and the logits that it was drawn from."""
    guidance = Traced(ClassifierFreeGuidance(1.0))
    rollout = model.generate(texts(), KEYS, sampling=sampling, guidance=guidance)
    return rollout, guidance.logits / sampling.temperature


# -- who sees whom ----------------------------------------------------------------------------


@BOTH
def test_logits_are_the_literal_loops(causal: bool) -> None:
    model = tiny_model(causal)
    rollout = model.generate(texts(), KEYS)
    with torch.no_grad():
        logits = model.logits(rollout, texts())
    for row in (0, 2):
        literal = literal_logits(
            model.transformer, texts().select([row]), rollout.inputs[row], SCHEDULE
        )
        torch.testing.assert_close(logits[row, :, 0], literal, atol=1e-4, rtol=0)
    assert logits.std() > 1


@BOTH
def test_teacher_forcing_gives_the_sampling_logits(causal: bool) -> None:
    """With the cache of Switti AR, and without any of Switti."""
    model = tiny_model(causal)
    rollout, logits = trace(model, Sampling(guidance=1.0, top_p=0.0))
    with torch.no_grad():
        taught = model.logits(rollout, texts())
    assert taught.shape == (4, 30, 1, 24)
    torch.testing.assert_close(taught, logits, atol=1e-4, rtol=0)
    inputs, _ = inputs_from_tokens(rollout.tokens, model.code_sum())
    assert torch.equal(inputs, rollout.inputs)


@BOTH
def test_a_scale_reads_its_own_inputs_or_also_earlier_ones(causal: bool) -> None:
    """Gradients are exactly zero where there is no path, and not zero where there is one."""
    model = tiny_model(causal)
    rollout = model.generate(texts(), KEYS)
    inputs = rollout.inputs.clone().requires_grad_(True)
    logits = model.logits(Rollout(rollout.tokens, inputs, SCHEDULE), texts())
    for level, rows in enumerate(ROWS):
        (gradient,) = torch.autograd.grad(
            logits[:, rows].square().sum(), inputs, retain_graph=True, allow_unused=True
        )
        for other, part in enumerate(ROWS[1:], start=1):
            actual = (
                0.0
                if gradient is None
                else float(gradient[:, part.start - 1 : part.stop - 1].abs().sum())
            )
            sees = other == level or (causal and other < level)
            assert (actual > 1e-3) if sees else (actual == 0.0), (level, other)


def test_a_scale_reaches_later_ones_through_the_sum_of_codes() -> None:
    model = tiny_model()
    tokens = model.generate(texts(), KEYS).tokens
    codebook = model.tokenizer.quantize
    before, _ = inputs_from_tokens(tokens, CodebookSum(codebook, SCHEDULE))
    changed = tokens.clone()
    changed[:, ROWS[1]] = (changed[:, ROWS[1]] + 1) % TRANSFORMER.vocabulary
    after, _ = inputs_from_tokens(changed, CodebookSum(codebook, SCHEDULE))
    moved = (after - before).abs().amax(dim=(0, 2))
    assert not moved[:4].any()  # inputs of scale 1 stand in front, they say nothing of itself
    assert (moved[4:] > 1e-3).all()


def test_the_first_scale_has_no_input() -> None:
    with pytest.raises(ValueError, match="first scale"):
        CodebookSum(tokenizer().quantize, SCHEDULE).next_input()


@BOTH
def test_padding_is_never_read(causal: bool) -> None:
    model = tiny_model(causal)
    rollout = model.generate(texts(), KEYS)
    real = texts()
    noisy = replace(real, rows=torch.where(real.mask[..., None], real.rows, 100.0))
    with torch.no_grad():
        assert torch.equal(model.logits(rollout, real), model.logits(rollout, noisy))


def test_grids_share_their_corners() -> None:
    cos, sin = rope_tables(SCHEDULE, 16)
    assert cos.shape == sin.shape == (30, 8)
    for first, last in ((1, 4), (5, 13), (14, 29)):  # scales of 2, 3 and 4
        torch.testing.assert_close(cos[first], torch.ones(8))
        torch.testing.assert_close(cos[last], cos[4], atol=1e-4, rtol=0)
        torch.testing.assert_close(sin[last], sin[4], atol=1e-4, rtol=0)


@pytest.mark.parametrize(
    ("scales", "message"),
    [
        (((1, 1), (2, 2)), "4 scales"),
        (((2, 2), (3, 3), (4, 4), (5, 5)), "from 1x1 on"),
        (((1, 1), (2, 2), (3, 3), (3, 4)), "square grids only"),
    ],
)
def test_other_schedules_are_refused(scales: tuple[tuple[int, int], ...], message: str) -> None:
    with pytest.raises(ValueError, match=message):
        SwittiTransformer(TRANSFORMER).positions(Schedule(scales))


@pytest.mark.parametrize(("width", "heads", "message"), [(32, 5, "heads"), (12, 1, "crop")])
def test_impossible_sizes_are_refused(width: int, heads: int, message: str) -> None:
    with pytest.raises(ValueError, match=message):
        TransformerConfig(width, depth=1, heads=heads, levels=2)


# -- sampling ---------------------------------------------------------------------------------


@BOTH
def test_it_is_a_next_scale_model(causal: bool) -> None:
    model: NextScaleModel = tiny_model(causal)
    assert isinstance(model, NextScaleModel)
    rollout = model.generate(texts(), KEYS)
    assert rollout.tokens.shape == (4, 30, 1)
    assert rollout.inputs.shape == (4, 29, 8)
    assert 8 < rollout.tokens.unique().numel() <= 24
    images = model.decode(rollout)
    assert images.shape == (4, 3, 64, 64)
    assert images.min() >= 0
    assert images.max() <= 1
    assert images.std() > 0.05


def test_a_token_is_the_inverse_of_the_distribution_at_its_number() -> None:
    rollout, logits = trace(tiny_model(), Sampling(guidance=1.0, temperature=2.0, top_p=0.0))
    for level, rows in enumerate(ROWS):
        numbers = uniforms(KEYS, level, rows.stop - rows.start, 1, torch.device("cpu"))
        p = logits[:, rows].double().softmax(-1)
        for image in range(4):
            for token in range(rows.stop - rows.start):
                symbol = int(rollout.tokens[image, rows.start + token, 0])
                below = float(p[image, token, 0, :symbol].sum())
                u = float(numbers[image, token, 0])
                assert below - 1e-5 <= u <= below + float(p[image, token, 0, symbol]) + 1e-5


@BOTH
def test_images_depend_on_their_key_alone(causal: bool) -> None:
    """In blocks of one shape: order and neighbours cannot change a token."""
    model = tiny_model(causal)
    rollout = model.generate(texts(), KEYS)
    order = [2, 0, 3, 3]
    again = model.generate(texts().select(order), [KEYS[i] for i in order])
    assert torch.equal(again.tokens, rollout.tokens[order])
    other = model.generate(texts(), [(prompt, seed + 10) for prompt, seed in KEYS])
    assert not torch.equal(other.tokens, rollout.tokens)
    with pytest.raises(ValueError, match="4 prompts but 3"):
        model.generate(texts(), KEYS[:3])


@BOTH
def test_strict_mode_ignores_batch_size(causal: bool) -> None:
    strict = tiny_model(causal, batch=1)
    whole = strict.generate(texts(), KEYS)
    images = strict.decode(whole)
    for i in (0, 3):
        alone = strict.generate(texts().select([i]), [KEYS[i]])
        assert torch.equal(alone.tokens[0], whole.tokens[i])
        assert torch.equal(alone.inputs[0], whole.inputs[i])
        assert torch.equal(strict.decode(alone)[0], images[i])


def test_guidance_grows_over_the_scales() -> None:
    """Weight w of this class is (1 + t) conditional - t null with the original's t = cfg k / K."""
    guidance = tiny_model().guidance(7.0)
    prompted, null = torch.tensor([1.0, -2.0]), torch.tensor([4.0, 8.0])
    for k in range(4):
        t = 6.0 * k / 3
        expected = (1 + t) * prompted - t * null
        torch.testing.assert_close(guidance.combine(k, [prompted, null]), expected)


@BOTH
def test_guided_logits_come_from_both_branches(causal: bool) -> None:
    model = tiny_model(causal)
    greedy = Sampling(guidance=3.0, top_k=1, top_p=0.0)
    rollout = model.generate(texts(), KEYS, sampling=greedy)
    null = model.null(texts())
    with torch.no_grad():
        prompted, other = model.logits(rollout, texts()), model.logits(rollout, null)
    for k, rows in enumerate(ROWS):
        weight = 1 + 2 * k / 3
        guided = weight * prompted[:, rows] + (1 - weight) * other[:, rows]
        assert torch.equal(guided.argmax(-1), rollout.tokens[:, rows])
    plain = model.generate(texts(), KEYS, sampling=replace(greedy, guidance=1.0))
    assert len(model.guidance(1.0).branches(model, texts())) == 1
    assert not torch.equal(plain.tokens, rollout.tokens)


# -- conditions, parts ------------------------------------------------------------------------


def test_null_is_the_empty_prompt() -> None:
    model = tiny_model()
    actual, empty = model.null(model.encode(["a cat", "a red dog"])), HashedText().encode([""])
    for row in range(2):
        assert torch.equal(actual.rows[row], empty.rows[0])
        assert torch.equal(actual.mask[row], empty.mask[0])
        assert torch.equal(actual.pooled[row], empty.pooled[0])


@BOTH
def test_conditions_mix_row_by_row(causal: bool) -> None:
    model = tiny_model(causal)
    rollout = model.generate(texts(), KEYS)
    null = model.null(texts())
    mixed = texts().choose(null, [True, False, False, True])
    with torch.no_grad():
        actual = model.logits(rollout, mixed)
        prompted, other = model.logits(rollout, texts()), model.logits(rollout, null)
    torch.testing.assert_close(actual[[0, 3]], other[[0, 3]])
    torch.testing.assert_close(actual[[1, 2]], prompted[[1, 2]])
    assert not torch.allclose(prompted, other, atol=0.1)


def test_parts_are_disjoint_and_named() -> None:
    model = tiny_model()
    named = {part: set(model.parameters(part)) for part in SwittiModel.parts}
    assert all(named.values())
    whole = [names for part, names in named.items() if "." not in part]
    assert sum(map(len, whole)) == len(set.union(*whole))
    for part, names in named.items():
        assert names <= named[part.split(".")[0]]
    assert set(model.parameters("all")) == {n for n, _ in model.weights().named_parameters()}
    assert "crop_embed.weight" not in model.parameters("all")
    both = trainable(model, ["ffn", "cross_attention"])
    assert all(".ffn." in name or ".cross_attn." in name for name in both)
    assert len(both) == TRANSFORMER.depth * (3 + 6)
    with pytest.raises(CapabilityError, match="text_projection"):
        model.parameters("text_projection")
