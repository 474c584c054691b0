"""The table of parameter counts against the modules, and the bytes that follow from it."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import replace
from typing import Any

import pytest
import torch
from torch import nn
from transformers import CLIPTextConfig, CLIPTextModel, T5Config, T5EncoderModel

from varbench.conf.compose import model_config
from varbench.models.gallery import sizes
from varbench.models.infinity.tokenizer import BSQVAE
from varbench.models.infinity.transformer import InfinityTransformer
from varbench.models.registry import MODELS, card, load_model
from varbench.models.switti.tokenizer import VQVAE
from varbench.models.switti.transformer import SwittiTransformer

NETWORKS: dict[str, tuple[type[Any], type[Any]]] = {
    "switti": (SwittiTransformer, VQVAE),
    "infinity": (InfinityTransformer, BSQVAE),
    "gallery": (InfinityTransformer, BSQVAE),
}
FLAN_T5_XL = {
    "vocab_size": 32128, "d_model": 2048, "d_kv": 64, "d_ff": 5120, "num_heads": 32,
    "feed_forward_proj": "gated-gelu",
}  # fmt: skip


def count(build: Callable[[], nn.Module]) -> int:
    with torch.device("meta"):
        return sum(p.numel() for p in build().parameters())


@pytest.mark.parametrize("name", MODELS)
def test_the_table_counts_what_the_modules_have(name: str) -> None:
    config: Any = model_config(name)
    small = name == "gallery"
    trunk, codes = (
        (sizes.TRANSFORMER, sizes.TOKENIZER) if small else (config.transformer, config.tokenizer)
    )
    transformer, tokenizer = NETWORKS[name.partition("-")[0]]
    one_layer, two = (count(lambda d=d: transformer(replace(trunk, depth=d))) for d in (1, 2))
    actual = MODELS[name][1]
    assert actual.blocks == trunk.depth * (two - one_layer)
    assert actual.outer == one_layer - (two - one_layer)
    assert actual.tokenizer == count(lambda: tokenizer(codes))
    if not small:
        assert actual.text_encoder == config.files.text_parameters


def test_text_encoders() -> None:
    """flan-t5-xl has 24 equal layers, of which two are enough to count."""
    one_layer, two = (
        count(lambda n=n: T5EncoderModel(T5Config(**FLAN_T5_XL, num_layers=n))) for n in (1, 2)
    )
    assert MODELS["infinity-2b"][1].text_encoder == one_layer + 23 * (two - one_layer)
    pair = [
        CLIPTextConfig(
            vocab_size=49408, hidden_size=width, intermediate_size=4 * width,
            num_hidden_layers=layers, num_attention_heads=heads,
        )
        for width, layers, heads in ((768, 12, 12), (1280, 32, 20))
    ]  # fmt: skip
    clip = sum(count(lambda c=c: CLIPTextModel(c)) for c in pair)
    assert MODELS["switti"][1].text_encoder == clip
    gallery: Any = load_model(model_config("gallery"), "cpu")
    words = sum(p.numel() for p in gallery.text_encoder.encoder.parameters())
    assert MODELS["gallery"][1].text_encoder == words


def test_bytes_of_infinity_by_hand() -> None:
    config: Any = model_config("infinity-2b")
    p = MODELS["infinity-2b"][1]
    weights = 2 * p.blocks + 4 * p.outer + 4 * p.tokenizer + 2 * p.text_encoder
    cache = 2 * 2 * 32 * 10521 * 2048 * 2
    made = card(config)
    assert (made.parameters, made.fp32, made.bf16) == (p.total, 4 * p.total, weights)
    assert made.generate == weights + cache
    assert config.cache_bytes() == cache
    assert replace(config, precision="fp32").cache_bytes() == 2 * cache
    small = replace(config, pn="0.06M", aspect_ratio=2.0)
    assert small.cache_bytes() == cache * 451 / 10521


@pytest.mark.parametrize("name", ["switti", "switti-1024-ar"])
def test_switti_computes_in_float32_alone(name: str) -> None:
    made, total = card(model_config(name)), MODELS[name][1].total
    cache = 4 * 2 * 2 * 30 * 9451 * 1920 if name.endswith("ar") else 0
    assert (made.fp32, made.bf16, made.generate) == (4 * total, None, 4 * total + cache)


def test_the_gallery_is_in_the_package() -> None:
    made, total = card(model_config("gallery")), MODELS["gallery"][1].total
    assert (made.parameters, made.fp32, made.bf16) == (total, 4 * total, None)
    assert (made.place, made.missing, made.generate) == ("the package", (), None)
