"""Named parts, sizes of the released models, fingerprints."""

from __future__ import annotations

import itertools

import pytest
import torch
from torch import nn

from tests.helpers.infinity_tiny import random_texts, tiny_model
from varbench.models.infinity.config import TokenizerConfig, TransformerConfig
from varbench.models.infinity.model import InfinityModel
from varbench.models.infinity.tokenizer import BSQVAE
from varbench.models.infinity.transformer import InfinityTransformer
from varbench.models.protocol import (
    PARTS,
    CapabilityError,
    NextScaleModel,
    Sampling,
    Schedule,
    trainable,
)

SQUARE = Schedule(((1, 1), (2, 2), (4, 4)))
TWO_B = TransformerConfig(2048, depth=32, heads=16, bits=32)
RELEASED = {
    "2B": (TWO_B, 2.2046e9, 5e4),
    "8B": (TransformerConfig(3584, 40, 28, 56, patchify=True), 8.3758e9, 5e4),
    "125M": (TransformerConfig(768, 12, 8, 16), 125.15e6, 5e3),
}
TOKENIZERS = {
    "f16 d32": (TokenizerConfig(32), 110.1e6, 268),
    "f16 d16": (TokenizerConfig(16), 110.0e6, 268),
    "f8 d14": (TokenizerConfig(14, width_multipliers=(1, 2, 4, 4)), 81.6e6, 224),
}
IN_NO_PART = {"cfg_uncond", "pos_start", "text_norm.weight", "lvl_embed.weight"}
IN_NO_PART |= {"word_embed.weight", "word_embed.bias"}


def size(parameters: dict[str, nn.Parameter]) -> int:
    return sum(p.numel() for p in parameters.values())


@pytest.fixture(scope="module")
def two_b() -> InfinityModel:
    with torch.device("meta"):
        transformer = InfinityTransformer(TWO_B)
        vae = BSQVAE(TokenizerConfig(32, 32, (1, 1)))
    return InfinityModel("2B", transformer, vae, None, SQUARE, Sampling())


@pytest.mark.parametrize("name", RELEASED)
def test_transformer_sizes(name: str) -> None:
    config, expected, tolerance = RELEASED[name]
    with torch.device("meta"):
        actual = sum(p.numel() for p in InfinityTransformer(config).parameters())
    assert abs(actual - expected) <= tolerance


@pytest.mark.parametrize("name", TOKENIZERS)
def test_tokenizer_sizes(name: str) -> None:
    """Upstream's state dicts have two entries more: the two mask buffers."""
    config, expected, entries = TOKENIZERS[name]
    with torch.device("meta"):
        vae = BSQVAE(config)
    assert abs(sum(p.numel() for p in vae.parameters()) - expected) <= 5e4
    assert len(vae.state_dict()) == entries
    assert config.factor == (8 if "f8" in name else 16)


@pytest.mark.parametrize(
    ("width", "expected"),
    [(2048, 8192), (3584, 14336), (768, 3072), (2080, 8192), (3360, 13312), (2688, 10752)],
)
def test_ffn_width_rounds_half_to_even(width: int, expected: int) -> None:
    assert TransformerConfig(width, 1, width // 16, 4, text_width=128).ffn_width == expected


def test_pool_heads_are_not_the_blocks_heads() -> None:
    assert [RELEASED[n][0].pool_heads for n in ("2B", "8B", "125M")] == [16, 16, 16]
    assert TransformerConfig(4608, 1, 36, 4).pool_heads == 32


def test_sizes_of_the_trained_parts_at_2b(two_b: InfinityModel) -> None:
    cross, ffn = two_b.parameters("cross_attention"), two_b.parameters("ffn")
    matrices = size({n: p for n, p in cross.items() if p.dim() == 2})
    assert matrices == 32 * 4 * 2048**2
    assert abs(size(cross) / 32 - 16.78e6) < 1e4
    assert abs(size(ffn) / 32 - 33.56e6) < 1e4
    assert abs(size(cross) + size(ffn) - 1.611e9) < 5e5
    assert size(two_b.parameters("all")) == sum(p.numel() for p in two_b.weights().parameters())


def test_parts_are_disjoint_and_cover_everything_but_a_known_rest() -> None:
    model = tiny_model()
    parts = {name: model.parameters(name) for name in PARTS}
    every = parts.pop("all")
    for a, b in itertools.combinations(parts, 2):
        assert not parts[a].keys() & parts[b].keys(), (a, b)
    assert all(parts.values())
    rest = every.keys() - set().union(*parts.values())
    blocks = {n for n in rest if n.startswith("blocks.")}
    assert {n.split(".", 2)[2] for n in blocks} == {"ada_gss", "ca_norm.weight", "ca_norm.bias"}
    assert rest - blocks == IN_NO_PART
    own = dict(model.weights().named_parameters())
    assert list(every) == list(own)
    assert all(p is own[n] for part in parts.values() for n, p in part.items())


def test_parts_hold_what_they_say() -> None:
    model = tiny_model()
    blocks = model.transformer.config.depth
    cross = {n.split(".", 2)[2] for n in model.parameters("cross_attention")}
    assert cross == {
        f"ca.{n}"
        for n in (
            "mat_q.weight",
            "mat_q.bias",
            "mat_kv.weight",
            "v_bias",
            "proj.weight",
            "proj.bias",
        )
    }
    assert len(model.parameters("cross_attention")) == 6 * blocks
    assert len(model.parameters("ffn")) == 4 * blocks
    assert "text_proj_for_sos.ca.mat_q" in model.parameters("pooled_text")
    assert set(model.parameters("text_projection")) == {
        f"text_proj_for_ca.{i}.{w}" for i in (0, 2) for w in ("weight", "bias")
    }
    assert set(model.parameters("head")) == {
        "head.weight",
        "head.bias",
        "head_nm.ada_lin.1.weight",
        "head_nm.ada_lin.1.bias",
    }


def test_unknown_part() -> None:
    with pytest.raises(CapabilityError, match=r"no part 'lora'; choose one of: cross_attention"):
        tiny_model().parameters("lora")


def test_union_of_parts_in_state_dict_order() -> None:
    model = tiny_model()
    actual = trainable(model, ["ffn", "cross_attention", "ffn"])
    order = [n for n, _ in model.weights().named_parameters() if n in actual]
    assert list(actual) == order
    assert len(actual) == 10 * model.transformer.config.depth


def test_model_follows_the_protocol() -> None:
    model = tiny_model()
    assert isinstance(model, NextScaleModel)
    assert not any(p.requires_grad for p in model.tokenizer.parameters())


def test_gradients_reach_the_trained_parts() -> None:
    model = tiny_model()
    texts = random_texts((3, 8), 128, 8)
    rollout = model.generate(texts, [("a", 0), ("b", 0)])
    for condition, untouched in ((texts, {"cfg_uncond"}), (model.null(texts), set())):
        model.weights().zero_grad()
        loss = model.logits(rollout, condition).log_softmax(-1)[..., 1].mean()
        loss.backward()
        still = {n for n, p in model.parameters("all").items() if p.grad is None}
        assert still == untouched
        for part in PARTS[:-1]:
            grads = [p.grad for p in model.parameters(part).values()]
            assert all(g is not None and g.isfinite().all() for g in grads)
            assert any(float(g.abs().max()) > 0 for g in grads if g is not None)


@pytest.mark.parametrize(
    ("change", "message"),
    [
        ({"heads": 3}, "multiple of 4"),
        ({"width": 36, "heads": 6}, "multiple of 4"),
        ({"bits": 6, "patchify": True}, "divide by 4"),
        ({"text_width": 640}, "does not divide"),
        ({"text_width": 64}, "too small"),
    ],
    ids=str,
)
def test_impossible_sizes(change: dict[str, int], message: str) -> None:
    sizes = {"width": 32, "depth": 1, "heads": 2, "bits": 8, "text_width": 128, **change}
    with pytest.raises(ValueError, match=message):
        TransformerConfig(**sizes)  # type: ignore[arg-type]
