"""Released models by name: every figure, sizes by arithmetic, and full-size files that load."""

from __future__ import annotations

from functools import cache
from pathlib import Path
from typing import Any

import pytest
import torch
from typer.testing import CliRunner

from tests.helpers.infinity_keys import (
    Shapes,
    hollow_pickle,
    hollow_shards,
    listed_keys,
    tokenizer_keys,
    transformer_keys,
)
from tests.helpers.paths import DATA
from varbench.cli import app
from varbench.conf.compose import model_config, names, resolve
from varbench.conf.schema import InfinityModelConfig
from varbench.errors import CheckpointError, UserError
from varbench.models.infinity.checkpoint import TokenizerFormat, TransformerFormat
from varbench.models.infinity.config import TransformerConfig
from varbench.models.infinity.schedules import FULL_SCHEDULES, PIXEL_BUDGETS, schedule_for
from varbench.models.infinity.tokenizer import BSQVAE
from varbench.models.infinity.transformer import InfinityTransformer
from varbench.models.registry import MODELS
from varbench.models.weights.checkpoint import load_new
from varbench.models.weights.tensor_files import read_tensors

REFERENCE = DATA / "infinity_reference"
META = torch.device("meta")

ZOO: dict[str, dict[str, Any]] = {
    "infinity-2b": {
        "width": 2048, "depth": 32, "heads": 16, "hidden": 8192, "chunks": 8, "bits": 32,
        "vae_bits": 32, "factor": 16, "patchify": False, "pn": "1M", "tokens": 10521,
        "parameters": 2.2046e9, "vae_parameters": 110.1e6, "guidance": 4.0, "temperature": 0.5,
        "file": "infinity_2b_reg.pth", "vae": "infinity_vae_d32reg.pth",
    },
    "infinity-8b": {
        "width": 3584, "depth": 40, "heads": 28, "hidden": 14336, "chunks": 8, "bits": 56,
        "vae_bits": 14, "factor": 8, "patchify": True, "pn": "1M", "tokens": 10521,
        "parameters": 8.3758e9, "vae_parameters": 81.6e6, "guidance": 3.0, "temperature": 1.0,
        "file": "infinity_8b_weights/model.safetensors.index.json",
        "vae": "infinity_vae_d56_f8_14_patchify.pth",
    },
    "infinity-8b-512": {
        "width": 3584, "depth": 40, "heads": 28, "hidden": 14336, "chunks": 8, "bits": 56,
        "vae_bits": 14, "factor": 8, "patchify": True, "pn": "0.25M", "tokens": 2521,
        "parameters": 8.3758e9, "vae_parameters": 81.6e6, "guidance": 3.0, "temperature": 1.0,
        "file": "infinity_8b_512x512_weights/model.safetensors.index.json",
        "vae": "infinity_vae_d56_f8_14_patchify.pth",
    },
    "infinity-125m": {
        "width": 768, "depth": 12, "heads": 8, "hidden": 3072, "chunks": 4, "bits": 16,
        "vae_bits": 16, "factor": 16, "patchify": False, "pn": "0.06M", "tokens": 521,
        "parameters": 125.15e6, "vae_parameters": 110.0e6, "guidance": 4.0, "temperature": 0.5,
        "file": "infinity_125M_256x256.pth", "vae": "infinity_vae_d16.pth",
    },
}  # fmt: skip
"""The published figures."""


def released(name: str) -> InfinityModelConfig:
    config = model_config(name)
    assert isinstance(config, InfinityModelConfig)
    return config


def test_every_config_has_a_loader_and_the_other_way_round() -> None:
    assert set(names("model")) == set(MODELS) >= {"gallery", *ZOO}


@pytest.mark.parametrize("name", ZOO)
def test_figures(name: str) -> None:
    expected, config = ZOO[name], released(name)
    t, v = config.transformer, config.tokenizer
    assert config.name == name
    assert not config.embedded
    for figure in ("width", "depth", "heads", "bits", "patchify"):
        assert getattr(t, figure) == expected[figure]
    assert (t.ffn_width, t.text_width, t.text_maxlen) == (expected["hidden"], 2048, 512)
    assert (config.chunks, config.pn, config.aspect_ratio) == (
        expected["chunks"],
        expected["pn"],
        1,
    )
    assert (v.bits, v.factor, v.base_width) == (expected["vae_bits"], expected["factor"], 128)
    assert schedule_for(config.pn, config.aspect_ratio).total == expected["tokens"]
    actual = MODELS[name][1]
    assert actual.blocks + actual.outer == pytest.approx(expected["parameters"], rel=5e-5)
    assert actual.tokenizer == pytest.approx(expected["vae_parameters"], rel=1e-3)
    s = config.sampling
    assert (s.guidance, s.temperature) == (expected["guidance"], expected["temperature"])
    assert (s.top_k, s.top_p) == (0, 0.97)
    assert (config.precision, config.text_precision, config.weights) == ("bf16", "fp16", None)
    files = config.files
    assert (files.repository, files.text_encoder) == ("FoundationVision/Infinity",
                                                      "google/flan-t5-xl")  # fmt: skip
    assert (files.transformer, files.tokenizer) == (expected["file"], expected["vae"])


@pytest.mark.parametrize("pn", PIXEL_BUDGETS)
@pytest.mark.parametrize("ratio", [1.0, 1.5, 0.333])
def test_pixel_budget_and_aspect_ratio_are_settings(pn: str, ratio: float) -> None:
    given = [f"model.pn={pn}", f"model.aspect_ratio={ratio}"]
    config: Any = resolve("infinity-8b-512", "smoke", "none", given).model
    assert (
        schedule_for(config.pn, config.aspect_ratio).scales
        == (FULL_SCHEDULES[ratio][: PIXEL_BUDGETS[pn]])
    )


@pytest.mark.parametrize(
    ("override", "words"),
    [
        ("model.pn=2M", "0.06M, 0.25M, 0.60M, 1M"),
        ("model.aspect_ratio=0", "aspect_ratio must be positive"),
        ("model.precision=fp8", "fp32, bf16"),
        ("model.text_precision=int8", "fp32, bf16, fp16"),
        ("model.chunks=5", "depth 32 is not 5 equal chunks"),
        ("model.tokenizer.bits=16", "transformer.bits must be 16"),
        ("model.transformer.patchify=true", "transformer.bits must be 128"),
        ("model.transformer.heads=0", "at least 1"),
        ("model.transformer.widht=64", "model.transformer.width"),
        ("model.wights=here", "model.weights"),
        ("model.files.revison=main", "model.files.revision"),
    ],
)
def test_wrong_settings_are_refused_with_the_fix(override: str, words: str) -> None:
    with pytest.raises(UserError, match=words):
        resolve("infinity-2b", "smoke", "none", [override])


def test_the_gallery_has_no_weights_to_choose() -> None:
    with pytest.raises(UserError, match=r"no key 'model\.weights'"):
        resolve("gallery", "smoke", "none", ["model.weights=here"])


def test_list_shows_sizes_memory_and_the_weights_folder(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("huggingface_hub.constants.HF_HUB_CACHE", str(tmp_path))
    printed = CliRunner().invoke(app, ["list", "models"])
    assert printed.exit_code == 0, printed.output
    rows = {line.split()[0]: line for line in printed.output.splitlines() if line}
    assert set(rows) >= {"gallery", *ZOO}
    for figure in ("3.5 B", "14.2 GB", "7.4 GB", "12.9 GB", str(tmp_path), "missing 6 of its"):
        assert figure in rows["infinity-2b"]
    for figure in ("9.7 B", "38.7 GB", "19.8 GB", "31.9 GB"):
        assert figure in rows["infinity-8b"]
    assert rows["gallery"].split()[-1] == "there"


def test_key_lists_agree_with_the_reference_sets() -> None:
    """The rules that the full-size lists follow from give the tiny models' lists exactly."""
    assert transformer_keys(64, 4, 4, 2, 8, text=256, rows=64) == listed_keys(
        REFERENCE / "keys_transformer.md"
    )
    assert tokenizer_keys(8, (1, 1, 1, 1, 2), base=32) == listed_keys(REFERENCE / "keys_vae.md")


def whole_list(name: str) -> Shapes:
    z = ZOO[name]
    return transformer_keys(z["width"], z["depth"], z["heads"], z["chunks"], z["bits"])


def write(folder: Path, name: str, shapes: Shapes) -> Path:
    """A file of the released format: shards for 8B, a pickle otherwise."""
    if ZOO[name]["file"].endswith("json"):
        return hollow_shards(folder / name, shapes, 8 if name.endswith("512") else 4)
    return hollow_pickle(folder / f"{name}.pth", shapes)


@cache
def empty(sizes: TransformerConfig) -> InfinityTransformer:
    """Building 40 blocks takes seconds even without storage."""
    with META:
        return InfinityTransformer(sizes)


def load(name: str, path: Path) -> InfinityTransformer:
    config = released(name)
    return load_new(
        lambda: empty(config.transformer),
        read_tensors(path),
        TransformerFormat(config.blocks_per_chunk),
        path.name,
        device=META,
        dtype=lambda _: torch.bfloat16,
    )


@pytest.mark.parametrize("name", ZOO)
def test_full_size_files_load(name: str, tmp_path: Path) -> None:
    shapes = whole_list(name)
    path = write(tmp_path, name, shapes)
    on_disk = sum(f.stat().st_blocks * 512 for f in tmp_path.rglob("*") if f.is_file())
    assert on_disk < 5e6, "the file was to be hollow"
    loaded = load(name, path)
    count = sum(p.numel() for p in loaded.parameters())
    assert count == pytest.approx(ZOO[name]["parameters"], rel=5e-5)
    buffers = sum(torch.Size(s).numel() for n, s in shapes.items() if n.endswith("zero_k_bias"))
    assert count == sum(torch.Size(s).numel() for s in shapes.values()) - buffers
    assert all(p.dtype == torch.bfloat16 for p in loaded.parameters())


@pytest.mark.slow
@pytest.mark.parametrize("name", ["infinity-2b", "infinity-8b"])
def test_a_wrong_key_at_full_size_fails_by_name(name: str, tmp_path: Path) -> None:
    last = f"block_chunks.7.module.{ZOO[name]['depth'] // 8 - 1}."
    block = f"blocks.{ZOO[name]['depth'] - 1}."
    width = ZOO[name]["width"]

    def attempt(shapes: Shapes) -> str:
        with pytest.raises(CheckpointError) as caught:
            load(name, write(tmp_path, name, shapes))
        return str(caught.value)

    shapes = whole_list(name)
    del shapes[f"{last}ca.mat_kv.weight"]
    assert attempt(shapes).endswith(f"does not fit this model. missing: {block}ca.mat_kv.weight")
    extra = f"{last}ffn.fc3.weight"
    assert attempt(whole_list(name) | {extra: (2, 2)}).endswith(f"model. extra: {extra}")
    bent = f"{last}ffn.fc2.weight"
    shape = (width, 4 * width - 4)
    assert attempt(whole_list(name) | {bent: shape}).endswith(
        f"model. misshapen: {bent} {shape}, expected {(width, 4 * width)}"
    )


@pytest.mark.slow
@pytest.mark.parametrize("name", ["infinity-2b", "infinity-8b"])
def test_the_other_models_file_is_refused(name: str, tmp_path: Path) -> None:
    other = {"infinity-2b": "infinity-8b", "infinity-8b": "infinity-2b"}[name]
    with pytest.raises(CheckpointError, match=r"missing: blocks|extra: block_chunks|misshapen"):
        load(name, write(tmp_path, other, whole_list(other)))


@pytest.mark.parametrize("nest", [("vae",), ("ema",)], ids=str)
@pytest.mark.parametrize("name", ["infinity-2b", "infinity-8b", "infinity-125m"])
def test_full_size_tokenizers_load(name: str, nest: tuple[str, ...], tmp_path: Path) -> None:
    config = released(name).tokenizer
    shapes = tokenizer_keys(config.bits, config.width_multipliers)
    assert len(shapes) == {16: 270, 8: 226}[config.factor]

    def attempt(shapes: Shapes) -> BSQVAE:
        path = hollow_pickle(tmp_path / "vae.pth", shapes, *nest)
        return load_new(lambda: BSQVAE(config), read_tensors(path), TokenizerFormat(), device=META)

    loaded = attempt(shapes)
    assert sum(p.numel() for p in loaded.parameters()) == MODELS[name][1].tokenizer
    gone = "decoder.up.1.upsample.conv.conv.bias"
    del shapes[gone]
    with pytest.raises(CheckpointError, match=r"missing: decoder\.up\.1\.upsample\.conv\.bias$"):
        attempt(shapes)
