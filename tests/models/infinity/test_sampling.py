"""Images depend on their key alone; guidance and teacher forcing agree."""

from __future__ import annotations

import pytest
import torch
from torch import Tensor

from tests.helpers.guidance import Traced
from tests.helpers.infinity_tiny import random_texts, tiny_model
from varbench.data.prompt import prompt_id
from varbench.models.common.sampling import ClassifierFreeGuidance, inputs_from_tokens
from varbench.models.infinity.model import InfinityModel
from varbench.models.infinity.text import TextCondition
from varbench.models.protocol import CapabilityError, Rollout, Sampling

LENGTHS = (8, 3, 5, 1, 8, 2, 6)
KEYS = [(prompt_id(f"prompt {i}"), i % 3) for i in range(len(LENGTHS))]
CPU = torch.device("cpu")


@pytest.fixture(scope="module")
def model() -> InfinityModel:
    return tiny_model(seed=3)


@pytest.fixture(scope="module")
def texts() -> TextCondition:
    return random_texts(LENGTHS, 128, 8)


@pytest.fixture(scope="module")
def rollout(model: InfinityModel, texts: TextCondition) -> Rollout:
    return model.generate(texts, KEYS)


def test_rollouts_are_varied(rollout: Rollout, model: InfinityModel) -> None:
    assert rollout.tokens.shape == (7, 121, 6)
    assert rollout.tokens.dtype == torch.uint8
    assert 0.2 < rollout.tokens.float().mean() < 0.8
    for i in range(7):
        for j in range(i):
            assert 0.1 < (rollout.tokens[i] != rollout.tokens[j]).float().mean() < 0.9
    assert rollout.schedule == model.schedule


def test_order_of_rows_does_not_matter(
    model: InfinityModel, texts: TextCondition, rollout: Rollout
) -> None:
    for order in ([6, 5, 4, 3, 2, 1, 0], [3, 0, 6, 1, 5, 2, 4]):
        again = model.generate(texts.select(order), [KEYS[i] for i in order])
        assert torch.equal(again.tokens, rollout.tokens[order])


def test_neighbours_in_a_block_do_not_matter(
    model: InfinityModel, texts: TextCondition, rollout: Rollout
) -> None:
    """Block size stays 7; the other rows are other prompts, or repeats of the first (resume)."""
    others = random_texts((4, 7, 2, 8, 8), 128, 8, seed=9)
    mixed = TextCondition(
        torch.cat([texts.rows[[1, 4]], others.rows]),
        torch.cat([texts.lengths[[1, 4]], others.lengths]),
    )
    keys = [KEYS[1], KEYS[4], *((f"other{i}", 5) for i in range(5))]
    assert torch.equal(model.generate(mixed, keys).tokens[:2], rollout.tokens[[1, 4]])
    todo = [2, 6, 3, 2, 2, 2, 2]
    again = model.generate(texts.select(todo), [KEYS[i] for i in todo])
    assert torch.equal(again.tokens[:3], rollout.tokens[[2, 6, 3]])


def test_the_key_decides_with_the_prompt(
    model: InfinityModel, texts: TextCondition, rollout: Rollout
) -> None:
    keys = [(prompt, seed + 10) for prompt, seed in KEYS]
    assert not torch.equal(model.generate(texts, keys).tokens, rollout.tokens)
    with pytest.raises(ValueError, match="7 prompts but 6"):
        model.generate(texts, KEYS[:6])


def test_strict_mode_ignores_batch_size(texts: TextCondition) -> None:
    strict = tiny_model(seed=3, batch=1)
    whole = strict.generate(texts, KEYS)
    images = strict.decode(whole)
    for i in (0, 3, 6):
        alone = strict.generate(texts.select([i]), [KEYS[i]])
        assert torch.equal(alone.tokens[0], whole.tokens[i])
        assert torch.equal(alone.inputs[0], whole.inputs[i])
        assert torch.equal(strict.decode(alone)[0], images[i])


def test_strict_mode_keeps_each_rows_negative_prompt(texts: TextCondition) -> None:
    strict = tiny_model(seed=3, batch=1)
    negative = random_texts((2, 8, 3, 4, 5, 6, 7), 128, 8, seed=5)
    guidance = Traced(ClassifierFreeGuidance(3.0), negative)
    whole = strict.generate(texts, KEYS, guidance=guidance)
    for i in (0, 4):
        against = Traced(ClassifierFreeGuidance(3.0), negative.select([i]))
        alone = strict.generate(texts.select([i]), [KEYS[i]], guidance=against)
        assert torch.equal(alone.tokens[0], whole.tokens[i])
    loose = tiny_model(seed=3).generate(texts, KEYS, guidance=guidance)
    assert (loose.tokens != whole.tokens).float().mean() < 0.01


def test_inputs_are_what_the_tokens_imply(model: InfinityModel, rollout: Rollout) -> None:
    inputs, codes = inputs_from_tokens(rollout.tokens, model.code_sum())
    assert rollout.inputs.shape == (7, 120, 6)
    assert torch.equal(inputs, rollout.inputs)
    images = model.decode(rollout)
    assert images.shape == (7, 3, 64, 64)
    assert images.min() >= 0
    assert images.max() <= 1
    again = model.tokenizer.decoder(codes).clamp(-1, 1) / 2 + 0.5
    assert torch.equal(images, again)


def trace(model: InfinityModel, texts: TextCondition, sampling: Sampling) -> tuple[Rollout, Tensor]:
    """A roll-out without guidance and the logits that it was drawn from."""
    guidance = Traced(ClassifierFreeGuidance(1.0))
    rollout = model.generate(texts, KEYS, sampling=sampling, guidance=guidance)
    return rollout, guidance.logits / sampling.temperature


@torch.no_grad()
def test_teacher_forcing_gives_the_sampling_logits(
    model: InfinityModel, texts: TextCondition
) -> None:
    actual, logits = trace(model, texts, Sampling(guidance=1.0))
    taught = model.logits(actual, texts)
    assert taught.shape == (7, 121, 6, 2)
    assert (taught - logits).abs().max() < 1e-4
    assert logits.std() > 0.3


@torch.no_grad()
def test_greedy_takes_the_best(model: InfinityModel, texts: TextCondition) -> None:
    actual, logits = trace(model, texts, Sampling(top_k=1, top_p=0.0))
    assert torch.equal(actual.tokens, logits.argmax(-1).to(torch.uint8))
    assert 0.1 < actual.tokens.float().mean() < 0.9


def test_weight_one_is_no_guidance(model: InfinityModel, texts: TextCondition) -> None:
    plain = model.generate(texts, KEYS, sampling=Sampling(guidance=1.0))
    per_scale = model.generate(texts, KEYS, guidance=ClassifierFreeGuidance([1.0] * 5))
    assert torch.equal(plain.tokens, per_scale.tokens)
    with torch.no_grad():
        actual, _ = trace(model, texts, Sampling())
    assert torch.equal(plain.tokens, actual.tokens)
    assert len(ClassifierFreeGuidance(1).branches(model, texts)) == 1


def test_guidance_formula() -> None:
    guidance = ClassifierFreeGuidance((3.0, 0.5))
    prompted, null = torch.tensor([1.0, -2.0]), torch.tensor([4.0, 8.0])
    assert guidance.combine(0, [prompted, null]).tolist() == [-5.0, -22.0]
    assert guidance.combine(1, [prompted, null]).tolist() == [2.5, 3.0]
    assert guidance.combine(0, [prompted]) is prompted


def test_guidance_and_negative_prompts_change_images(
    model: InfinityModel, texts: TextCondition, rollout: Rollout
) -> None:
    plain = model.generate(texts, KEYS, sampling=Sampling(guidance=1.0))
    negative = random_texts((3,) * 7, 128, 8, seed=4)
    against = model.generate(texts, KEYS, guidance=Traced(ClassifierFreeGuidance(3.0), negative))
    for a, b in ((plain, rollout), (against, rollout), (plain, against)):
        assert (a.tokens != b.tokens).float().mean() > 0.02


def test_null_condition_has_the_prompts_length(model: InfinityModel, texts: TextCondition) -> None:
    null = model.null(texts)
    assert null.is_null.all()
    assert not texts.is_null.any()
    assert torch.equal(null.lengths, texts.lengths)
    assert null.select([2]).is_null.tolist() == [True]
    with torch.no_grad():
        state, prompted = model.read(null), model.read(texts)
        table = model.transformer.cfg_uncond
        for i, length in enumerate(LENGTHS):
            assert int(state.mask_BT[i].sum()) == length
            alone = TextCondition(table[None, :length], torch.tensor([length]))
            expected = model.read(alone).pooled[0]
            assert torch.allclose(state.pooled[i], expected, atol=1e-5)
            assert not torch.allclose(state.pooled[i], prompted.pooled[i], atol=1e-2)


@torch.no_grad()
def test_null_and_prompts_mix_in_one_batch(model: InfinityModel, texts: TextCondition) -> None:
    take = [True, False, False, True, False, True, False]
    null = model.null(texts)
    mixed = texts.choose(null, take)
    assert mixed.is_null.tolist() == take
    state, own, other = model.read(mixed), model.read(texts), model.read(null)
    for i, is_null in enumerate(take):
        expected = other if is_null else own
        assert torch.allclose(state.pooled[i], expected.pooled[i], atol=1e-6)
        real = state.mask_BT[i]
        memory = expected.memory_BTD[i, real]
        assert torch.allclose(state.memory_BTD[i, real], memory, atol=1e-6)
    longer = random_texts((2,) * 7, 128, 8, seed=8)
    chosen = texts.choose(longer, take)
    assert chosen.lengths.tolist() == [2, 3, 5, 2, 8, 2, 6]
    assert torch.equal(chosen.rows[0], longer.rows[0])
    assert torch.equal(chosen.rows[1], texts.rows[1])


def test_a_missing_text_encoder_is_reported(model: InfinityModel) -> None:
    with pytest.raises(CapabilityError, match="without a text encoder"):
        model.encode(["a cat"])


def test_rows_must_fit() -> None:
    compact = torch.randn(5, 4)
    condition = TextCondition.padded(compact.split([2, 3]), 4)
    assert torch.equal(condition.rows[condition.mask], compact)
    assert not condition.rows[~condition.mask].any()
    with pytest.raises(ValueError, match=r"\[2, 3\] rows do not fit 2"):
        TextCondition.padded(compact.split([2, 3]), 2)
