"""Weights files load whole or not at all, and the error says what is wrong."""

from __future__ import annotations

import json
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
import torch
from safetensors.torch import save_file
from torch import Tensor

from tests.helpers.weights_files import (
    CONFIG,
    load_into,
    same,
    sharded,
    state,
    tokenizer,
    transformer,
)
from varbench.errors import CheckpointError
from varbench.models.infinity.checkpoint import TokenizerFormat, TransformerFormat
from varbench.models.infinity.transformer import InfinityTransformer
from varbench.models.weights.checkpoint import load_new
from varbench.models.weights.tensor_files import read_tensors


def chunked(tensors: dict[str, Tensor], per_chunk: int) -> dict[str, Tensor]:
    out = {}
    for name, value in tensors.items():
        if name.startswith("blocks."):
            _, number, rest = name.split(".", 2)
            chunk, place = divmod(int(number), per_chunk)
            name = f"block_chunks.{chunk}.module.{place}.{rest}"
        out[name] = value
    return out


def inner_names(tensors: dict[str, Tensor]) -> dict[str, Tensor]:
    """Upstream's other scheme, with the modules around every convolution and norm."""
    out = {}
    for name, value in tensors.items():
        stem, leaf = name.rsplit(".", 1)
        plain = stem.rsplit(".", 1)[-1]
        out[f"{stem}.{'norm' if plain.startswith('norm') else 'conv'}.{leaf}"] = value
    assert "encoder.down.0.downsample.conv.conv.weight" in out
    assert "encoder.down.0.block.0.norm1.norm.weight" in out
    return out


@pytest.mark.parametrize("per_chunk", [1, 2, 4])
def test_chunked_block_names(per_chunk: int) -> None:
    source, target = transformer(1), transformer(2)
    assert not same(source, target)
    load_into(target, chunked(state(source), per_chunk), TransformerFormat(per_chunk))
    assert same(source, target)


def test_flat_block_names() -> None:
    source, target = transformer(1), transformer(2)
    load_into(target, state(source), TransformerFormat(2))
    assert same(source, target)


def test_wrong_chunk_size_is_refused() -> None:
    with pytest.raises(CheckpointError, match=r"missing: .*blocks\.1\..*extra: .*block_chunks"):
        load_into(transformer(), chunked(state(transformer()), 1), TransformerFormat(4))


@pytest.mark.parametrize("rename", [lambda t: t, inner_names], ids=["plain", "inner"])
def test_tokenizer_naming_schemes(rename: Callable[[dict[str, Tensor]], dict[str, Tensor]]) -> None:
    source, target = tokenizer(1), tokenizer(2)
    load_into(target, rename(state(source)), TokenizerFormat())
    assert same(source, target)


def test_one_weight_under_both_schemes_is_refused() -> None:
    tensors = state(tokenizer())
    tensors["encoder.conv_in.conv.bias"] = tensors["encoder.conv_in.bias"].clone()
    with pytest.raises(CheckpointError, match=r"extra: encoder\.conv_in\.conv\.bias"):
        load_into(tokenizer(), tensors, TokenizerFormat())


def test_head_temperatures_in_the_flash_kernels_shape() -> None:
    source, target = transformer(1), transformer(2)
    tensors = state(source)
    for name in tensors:
        if name.endswith("scale_mul_1H11"):
            tensors[name] = tensors[name].reshape(1, 1, CONFIG.heads, 1)
    load_into(target, tensors, TransformerFormat(1))
    assert same(source, target)


def test_stale_buffers_are_ignored() -> None:
    source, target = transformer(1), transformer(2)
    tensors = state(source)
    for name in (
        "blocks.0.sa.zero_k_bias",
        "blocks.3.ca.zero_k_bias",
        "text_proj_for_sos.ca.zero_k_bias",
        "lvl_1L",
        "attn_bias_for_masking",
        "Infinity_visible_kvlen",
        "Infinity_invisible_qlen",
    ):
        tensors[name] = torch.zeros(3)
    load_into(target, tensors, TransformerFormat(1))
    assert same(source, target)
    vae, copy = tokenizer(1), tokenizer(2)
    masks = {f"{q}.lfq.mask": torch.ones(4).long() for q in ("quantizer", "quantize")}
    load_into(copy, state(vae) | masks, TokenizerFormat())
    assert same(vae, copy)


def test_missing_extra_and_misshapen_are_named_and_nothing_is_loaded() -> None:
    target = transformer(2)
    before = state(target)
    tensors = state(transformer(1))
    del tensors["blocks.2.ffn.fc1.bias"]
    tensors["my_zero_k_bias_x"] = torch.zeros(1)
    tensors["head.bias"] = torch.zeros(9)
    with pytest.raises(CheckpointError) as caught:
        load_into(target, tensors, TransformerFormat(1), "some file")
    message = str(caught.value)
    assert message.startswith("some file does not fit")
    assert "missing: blocks.2.ffn.fc1.bias" in message
    assert "extra: my_zero_k_bias_x" in message
    assert "misshapen: head.bias (9,), expected (8,)" in message
    assert all(torch.equal(v, before[k]) for k, v in target.state_dict().items())


def test_equal_size_does_not_excuse_another_shape() -> None:
    tensors = state(transformer())
    tensors["blocks.0.ca.mat_q.weight"] = tensors["blocks.0.ca.mat_q.weight"].reshape(8, 32)
    with pytest.raises(CheckpointError, match=r"misshapen: blocks\.0\.ca\.mat_q\.weight"):
        load_into(transformer(), tensors, TransformerFormat(1))


def test_long_lists_are_cut() -> None:
    with pytest.raises(CheckpointError, match=r"\.\.\.") as caught:
        load_into(transformer(), {"x": torch.zeros(1)})
    assert len(str(caught.value)) < 1000


def test_safetensors_round_trip(tmp_path: Path) -> None:
    path = tmp_path / "w.safetensors"
    save_file(state(transformer(1)), path)
    target = transformer(2)
    load_into(target, read_tensors(path))
    assert same(target, transformer(1))


NESTS = [(), ("vae",), ("ema",), ("trainer", "gpt_fsdp"), ("trainer", "gpt_ema_fsdp")]


@pytest.mark.parametrize("nest", NESTS, ids=str)
def test_nested_dicts(tmp_path: Path, nest: tuple[str, ...]) -> None:
    actual: Any = state(tokenizer(1))
    for key in reversed(nest):
        actual = {key: actual, "epoch": 3, "args": {"lr": 0.1}}
    torch.save(actual, tmp_path / "w.pth")
    target = tokenizer(2)
    load_into(target, read_tensors(tmp_path / "w.pth"), TokenizerFormat())
    assert same(target, tokenizer(1))


@pytest.mark.parametrize(("plain", "averaged"), [("vae", "ema"), ("gpt_fsdp", "gpt_ema_fsdp")])
def test_averaged_weights_only_where_the_plain_ones_are_absent(
    tmp_path: Path, plain: str, averaged: str
) -> None:
    one, two = state(tokenizer(1)), state(tokenizer(2))
    for content, expected in (
        ({averaged: two, plain: one}, one),
        ({plain: None, averaged: two}, two),
        ({averaged: two}, two),
    ):
        torch.save(content, tmp_path / "w.pth")
        actual = read_tensors(tmp_path / "w.pth")
        assert actual.keys() == expected.keys()
        assert all(torch.equal(actual[k], expected[k]) for k in expected)


def test_shards_by_their_index(tmp_path: Path) -> None:
    index = sharded(tmp_path, chunked(state(transformer(1)), 2))
    target = transformer(2)
    load_into(target, read_tensors(index), TransformerFormat(2))
    assert same(target, transformer(1))


def test_a_missing_shard_is_named(tmp_path: Path) -> None:
    index = sharded(tmp_path, state(transformer(1)))
    (tmp_path / "model-00002-of-00003.safetensors").unlink()
    with pytest.raises(CheckpointError, match=r"missing shards: model-00002-of-00003"):
        read_tensors(index)


def test_an_index_that_disagrees_with_its_shards(tmp_path: Path) -> None:
    index = sharded(tmp_path, state(transformer(1)))
    index_content = json.loads(index.read_text())
    gone = index_content["weight_map"].pop("head.bias")
    index.write_text(json.dumps(index_content))
    with pytest.raises(CheckpointError, match=rf"{gone} and its index differ in head\.bias"):
        read_tensors(index)
    index_content["weight_map"] |= {"head.bias": gone, "tail.bias": gone}
    index.write_text(json.dumps(index_content))
    with pytest.raises(CheckpointError, match=rf"{gone} and its index differ in tail\.bias"):
        read_tensors(index)


@pytest.mark.parametrize("kind", ["pth", "old pth", "safetensors", "shards"])
def test_a_new_module_has_the_files_values_in_the_requested_precision(
    tmp_path: Path, kind: str
) -> None:
    source = transformer(1)
    tensors = chunked(state(source), 2)
    if kind == "shards":
        path = sharded(tmp_path, tensors)
    elif kind == "safetensors":
        path = tmp_path / "w.safetensors"
        save_file(tensors, path)
    else:
        path = tmp_path / "w.pth"
        torch.save(tensors, path, _use_new_zipfile_serialization=kind == "pth")
    loaded = load_new(
        lambda: InfinityTransformer(CONFIG),
        read_tensors(path),
        TransformerFormat(2),
        device=torch.device("cpu"),
        dtype=lambda name: torch.bfloat16 if name.startswith("blocks.") else torch.float32,
    )
    for name, value in source.state_dict().items():
        actual = loaded.state_dict()[name]
        assert actual.dtype == (torch.bfloat16 if name.startswith("blocks.") else torch.float32)
        assert torch.equal(actual, value.to(actual.dtype))
        assert actual.is_contiguous()
    assert all(p.requires_grad for p in loaded.parameters())
    assert list(loaded.state_dict()) == list(source.state_dict())


def test_a_new_modules_values_are_its_own(tmp_path: Path) -> None:
    """Nothing of the file stays mapped: it may be overwritten, and training writes to weights."""
    save_file(state(transformer(1)), tmp_path / "w.safetensors")
    loaded = load_new(
        lambda: InfinityTransformer(CONFIG),
        read_tensors(tmp_path / "w.safetensors"),
        device=torch.device("cpu"),
    )
    data = (tmp_path / "w.safetensors").read_bytes()
    with (tmp_path / "w.safetensors").open("r+b") as file:  # in place, as no atomic writer would
        file.write(bytes(len(data)))
    assert same(loaded, transformer(1))


def test_null_rows_beyond_the_longest_prompt_are_cut() -> None:
    source, target = transformer(1), transformer(2)
    tensors = state(source)
    tensors["cfg_uncond"] = torch.cat([tensors["cfg_uncond"], torch.ones(3, 128)])
    load_into(target, tensors, TransformerFormat(1))
    assert same(source, target)


def test_null_rows_that_were_never_trained_are_refused() -> None:
    tensors = state(transformer())
    tensors["cfg_uncond"] = tensors["cfg_uncond"][:4]
    with pytest.raises(CheckpointError, match=r"cfg_uncond \(4, 128\).*text_maxlen=4"):
        load_into(transformer(), tensors, TransformerFormat(1))


@pytest.mark.parametrize("name", ["blocks.1.sa.zero_k_bias", "text_proj_for_sos.ca.zero_k_bias"])
def test_a_key_bias_that_is_not_zero_is_refused(name: str) -> None:
    tensors = state(transformer())
    tensors[name] = torch.tensor([0.0, 0.0, 1e-6])
    with pytest.raises(CheckpointError, match=rf"not zero.*key biases.*: {name}"):
        load_into(transformer(), tensors, TransformerFormat(1))
