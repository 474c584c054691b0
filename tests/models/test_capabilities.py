"""The inside of an Infinity, as its capabilities show it, is what its forward pass computes."""

from __future__ import annotations

from collections.abc import Sequence
from functools import partial
from typing import Any

import pytest
import torch
from torch import Tensor

from tests.helpers import switti_tiny
from tests.helpers.tiny import TinyConcept, tiny_model
from varbench.methods.training.rollouts import RolloutConfig, pair_rollouts
from varbench.models.capabilities import (
    CutsRollouts,
    HasBlocks,
    HasHidden,
    HasTextAttention,
    HasTextSpaces,
    SeesQueries,
    require,
)
from varbench.models.common.sampling import ClassifierFreeGuidance
from varbench.models.infinity.hooks import outputs
from varbench.models.infinity.model import InfinityModel
from varbench.models.protocol import CapabilityError, Rollout

PROMPTS = ["a red cat", "a blue dog on a car", "hat"]
KEYS = [(prompt, 3) for prompt in PROMPTS]


@pytest.fixture(scope="module")
def model() -> InfinityModel:
    return tiny_model(seed=5)


@pytest.fixture(scope="module")
def rollout(model: InfinityModel) -> Rollout:
    return model.generate(model.encode(PROMPTS), KEYS)


def test_a_model_without_a_capability_is_refused_by_name(model: InfinityModel) -> None:
    for capability in (HasHidden, HasTextAttention, HasTextSpaces):
        assert require(model, capability, "some-method") is model
    with pytest.raises(CapabilityError, match="some-method needs a model that offers HasHidden"):
        require(object.__new__(_Bare), HasHidden, "some-method")


class _Bare:
    name = "bare"


def test_hidden_states_are_what_the_head_reads(model: InfinityModel, rollout: Rollout) -> None:
    text = model.encode(PROMPTS)
    hidden = model.hidden(rollout, text)
    assert hidden.shape == (3, 21, 32)
    torch.testing.assert_close(
        model.transformer.read_out(hidden, model.read(text)), model.logits(rollout, text)
    )
    assert hidden.requires_grad


def test_attention_on_text_reproduces_the_blocks_output(
    model: InfinityModel, rollout: Rollout
) -> None:
    text = model.encode(PROMPTS)
    attention = model.text_attention(rollout, text)
    modules = [block.ca for block in model.transformer.blocks]  # type: ignore[misc]
    with outputs(modules) as given:  # type: ignore[arg-type]
        model.logits(rollout, text)
    memory = model.read(text).memory_BTD
    for block, shares, out in zip(model.transformer.blocks, attention.cross, given, strict=True):
        ca = block.ca
        values = (ca.mat_kv(memory).chunk(2, dim=-1)[1] + ca.v_bias).unflatten(-1, (2, -1))  # type: ignore[operator, union-attr]
        mixed = (shares @ values.transpose(1, 2)).transpose(1, 2).flatten(2)
        torch.testing.assert_close(ca.proj(mixed), out)  # type: ignore[operator, union-attr]
        torch.testing.assert_close(shares.sum(-1), torch.ones(3, 2, 21))
        assert float(shares[0, :, :, 4:].detach().abs().max()) == 0  # three words and the end
    assert attention.cross[0].requires_grad


def test_attention_of_the_pool_reproduces_the_pooled_vector(
    model: InfinityModel, rollout: Rollout
) -> None:
    text = model.encode(PROMPTS)
    shares = model.text_attention(rollout, text).pooled
    assert shares is not None
    rows = model.text_spaces(text)["pool"].rows
    pool = model.transformer.text_proj_for_sos["ca"]
    values = pool.mat_kv(rows).chunk(2, dim=-1)[1] + pool.v_bias  # type: ignore[operator]
    mixed = (shares[:, :, None] @ values.unflatten(-1, (pool.heads, -1)).transpose(1, 2)).flatten(1)
    torch.testing.assert_close(pool.proj(mixed), model.read(text).pooled)  # type: ignore[operator]


def test_text_spaces_are_what_their_readers_read(model: InfinityModel) -> None:
    text = model.encode(PROMPTS)
    spaces = model.text_spaces(text)
    weights = dict(model.transformer.named_parameters())
    modules = dict(model.transformer.named_modules())
    null = model.null(text)
    for condition in (text, null):
        spaces = model.text_spaces(condition)
        for space in spaces.values():
            for name in space.readers:
                assert weights[name].shape[1] == space.rows.shape[-1]
                read: list[Tensor] = []
                hook = modules[name.removesuffix(".weight")].register_forward_pre_hook(
                    lambda _, given, read=read: read.append(given[0])
                )
                try:
                    rollout = model.generate(condition, KEYS)
                finally:
                    hook.remove()
                assert len(rollout) == 3
                given = [row for batch in read for row in batch][: len(text)]  # padded or not
                for row, expected, real in zip(given, space.rows, space.mask, strict=True):
                    assert torch.equal(row[: int(real.sum())], expected[real])
    assert not torch.equal(model.text_spaces(text)["rows"].rows, spaces["rows"].rows)
    assert [len(tokens) for tokens in model.text_tokens(PROMPTS)] == text.lengths.tolist()


class Watcher(ClassifierFreeGuidance):
    """Plain guidance that keeps what it sees."""

    query_blocks: Sequence[int] = (1,)

    def see(self, scale: int, queries: list[Tensor]) -> None:
        self.__dict__.setdefault("seen", []).append((scale, [tuple(q.shape) for q in queries]))


def test_a_guidance_that_asks_sees_the_queries_of_every_scale(model: InfinityModel) -> None:
    watcher = Watcher(2.0)
    assert isinstance(watcher, SeesQueries)
    text = model.encode(PROMPTS)
    made = model.generate(text, KEYS, guidance=watcher)
    assert torch.equal(made.tokens, model.generate(text, KEYS).tokens)
    lengths = model.schedule.lengths
    assert watcher.__dict__["seen"] == [(k, [(6, 2, n, 16)]) for k, n in enumerate(lengths)]


def test_keys_are_those_that_attention_uses(model: InfinityModel, rollout: Rollout) -> None:
    text = model.encode(PROMPTS)
    actual = model.text_keys(text, [1])
    (keys,) = actual.keys
    assert torch.equal(actual.mask, text.mask)
    with outputs([model.transformer.blocks[1].ca.mat_q]) as queries:  # type: ignore[list-item, union-attr]
        model.logits(rollout, text)
    q = queries[0].unflatten(-1, (2, -1)).transpose(1, 2)
    scores = (q @ keys.transpose(-1, -2)) / 4  # head width 16
    scores = scores.masked_fill(~text.mask[:, None, None], -torch.inf)
    torch.testing.assert_close(scores.softmax(-1), model.text_attention(rollout, text).cross[1])


def test_the_side_of_a_pair_decides_its_roll_out(model: InfinityModel) -> None:
    pairs = TinyConcept().pairs()
    made = {
        side: pair_rollouts(model, pairs, RolloutConfig(), 1, side).tokens
        for side in ("neutral", "concept", "mixed")
    }
    assert not torch.equal(made["neutral"], made["concept"])
    assert torch.equal(made["mixed"][::2], made["neutral"][::2])
    assert torch.equal(made["mixed"][1::2], made["concept"][1::2])
    with pytest.raises(ValueError, match="neutral, concept, mixed"):
        pair_rollouts(model, pairs, RolloutConfig(), 1, "other")


@pytest.mark.parametrize(
    "build",
    [lambda: tiny_model(seed=5), switti_tiny.tiny_model, partial(switti_tiny.tiny_model, True)],
    ids=["infinity", "switti", "switti-ar"],
)
def test_first_scales_alone_are_those_of_the_whole(build: Any) -> None:
    model = build()
    text = model.encode(["a red cat", "a dog", "hat"])
    whole = model.generate(text, KEYS)
    logits = model.logits(whole, text)
    cut = require(model, CutsRollouts, "some-method").first_scales
    end = 0
    for count, length in enumerate(model.schedule.lengths, start=1):
        end += length
        first = cut(whole, count)
        assert first.tokens.shape[1] == first.schedule.total == end
        torch.testing.assert_close(model.logits(first, text), logits[:, :end], atol=1e-5, rtol=1e-5)


@pytest.mark.parametrize("build", [tiny_model, switti_tiny.tiny_model], ids=["infinity", "switti"])
def test_each_parameter_is_in_one_block(build: Any) -> None:
    model = build()
    blocks = require(model, HasBlocks, "some-method").blocks()
    named = dict(model.weights().named_parameters())
    names = [name for block in blocks for name in block]
    assert sorted(names) == sorted(name for name in named if name.startswith("blocks."))
    assert all(p is named[name] for block in blocks for name, p in block.items())
    assert all(name.startswith(f"blocks.{i}.") for i, block in enumerate(blocks) for name in block)
