"""A released model from a folder of the released format, at tiny size, up to the whole command.

The weights are the reference set's (numbers of the original implementation), so what is loaded
is known to compute what upstream computes; the text encoder is a random T5.
"""

from __future__ import annotations

import shutil
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
import torch
from safetensors.torch import load_file, save_file
from torch import Tensor
from typer.testing import CliRunner

from tests.helpers.infinity_folder import Folder
from tests.helpers.infinity_released import FP32, REFERENCE, SIZES, released_folder
from tests.helpers.weights_files import same, sharded
from varbench.cli import app
from varbench.conf.compose import resolve
from varbench.errors import CheckpointError
from varbench.models import registry
from varbench.models.infinity.model import InfinityModel
from varbench.store import Store


@pytest.fixture(scope="module")
def folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return released_folder(tmp_path_factory.mktemp("released") / "weights")


@pytest.fixture(autouse=True)
def own_cache(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("XDG_CACHE_HOME", str(tmp_path / "cache"))


def load(folder: Path, *overrides: str) -> InfinityModel:
    given = [f"model.weights={folder}", *SIZES, *overrides]
    model = registry.load_model(resolve("infinity-2b", "smoke", "none", given).model, "cpu")
    assert isinstance(model, InfinityModel)
    return model


def test_loaded_by_name_it_computes_upstreams_logits(folder: Path) -> None:
    reference, model = Folder(REFERENCE), load(folder, FP32)
    assert same(model.transformer, reference.model.transformer)
    assert same(model.tokenizer, reference.vae)
    assert model.schedule == reference.model.schedule
    assert (model.sampling.guidance, model.sampling.temperature) == (4.0, 0.5)
    with torch.no_grad():
        logits = model.logits(reference.rollout, reference.condition).flatten(2)
    assert (logits - reference.get("train_io", "logits")).abs().max() < 1e-4


def test_bf16_is_for_the_blocks_only(folder: Path) -> None:
    reference, model = Folder(REFERENCE), load(folder)
    for name, value in model.transformer.state_dict().items():
        exact = reference.model.transformer.state_dict()[name]
        required = torch.bfloat16 if name.startswith("blocks.") else torch.float32
        assert value.dtype == required, name
        assert torch.equal(value, exact.to(required)), name
    assert all(p.dtype == torch.float32 for p in model.tokenizer.parameters())
    with torch.no_grad():
        logits = model.logits(reference.rollout, reference.condition).flatten(2)
    expected = reference.get("train_io", "logits")
    assert logits.dtype == torch.float32
    error = (logits - expected).abs()
    assert 1e-4 < error.max() < 0.3
    assert error.mean() < 0.02 * expected.std()
    images = model.decode(model.generate(model.encode(["a face"]), [("x", 0)]))
    assert images.shape == (1, 3, 256, 256)
    assert images.isfinite().all()


def flat(root: Path, tensors: dict[str, Tensor]) -> str:
    torch.save(tensors, root / "flat.pth")
    return "flat.pth"


def averaged(root: Path, tensors: dict[str, Tensor]) -> str:
    torch.save({"trainer": {"gpt_fsdp": None, "gpt_ema_fsdp": tensors}}, root / "ema.pth")
    return "ema.pth"


def one_file(root: Path, tensors: dict[str, Tensor]) -> str:
    save_file(tensors, root / "model.safetensors")
    return "model.safetensors"


def shards(root: Path, tensors: dict[str, Tensor]) -> str:
    return sharded(root / "shards", tensors).relative_to(root).as_posix()


@pytest.mark.parametrize("write", [flat, averaged, one_file, shards])
def test_every_format_of_the_transformer(
    folder: Path, tmp_path: Path, write: Callable[[Path, dict[str, Tensor]], str]
) -> None:
    root = tmp_path / "weights"
    shutil.copytree(folder, root)
    name = write(root, load_file(REFERENCE / "transformer.safetensors"))
    model = load(root, FP32, f"model.files.transformer={name}")
    assert same(model.transformer, Folder(REFERENCE).model.transformer)


def test_the_tokenizers_other_naming_scheme(folder: Path, tmp_path: Path) -> None:
    root = tmp_path / "weights"
    shutil.copytree(folder, root)
    stored = load_file(REFERENCE / "vae.safetensors")
    plain = {
        name.replace(".norm.", ".")
        .replace(".conv.weight", ".weight")
        .replace(".conv.bias", ".bias"): value
        for name, value in stored.items()
    }
    assert "decoder.up.1.upsample.conv.weight" in plain
    assert not plain.keys() & {n for n in stored if "mask" not in n}
    torch.save({"vae": plain}, root / "infinity_vae_d32reg.pth")
    assert same(load(root, FP32).tokenizer, Folder(REFERENCE).vae)


def test_a_file_that_does_not_fit_is_refused_by_its_name(folder: Path) -> None:
    with pytest.raises(CheckpointError, match=r"infinity_2b_reg\.pth does not fit.*head\.weight"):
        load(folder, "model.transformer.bits=16", "model.tokenizer.bits=16")
    with pytest.raises(CheckpointError, match=r"infinity_vae_d32reg\.pth does not fit"):
        load(folder, "model.tokenizer.base_width=64")


SMALL = [
    *(f"suite.groups.{g}.prompts=3" for g in ("target", "neighbours", "unrelated")),
    *(f"suite.groups.{g}.seeds=1" for g in ("target", "neighbours", "unrelated")),
    "suite.block=3",
    "suite.robustness.prompts=0",
    "method.train.steps=2",
]


def varbench(*args: str) -> Any:
    return CliRunner().invoke(app, list(args))


@pytest.mark.slow
def test_the_whole_command(folder: Path, tmp_path: Path) -> None:
    """Erase, generate, score, record in bf16; again; and from a copy of the folder elsewhere."""
    store = tmp_path / "store"

    def run(weights: Path) -> Any:
        command = ("run", "--model", "infinity-2b", "--method", "svare", "--store", str(store))
        result = varbench(*command, f"model.weights={weights}", *SIZES, *SMALL)
        assert result.exit_code == 0, result.output
        return result

    assert "svare" in run(folder).output
    cells = [e.json("cell.json") for e in Store(store).entries("cell")]
    assert {c["method"] for c in cells} == {"none", "svare"}
    given = [f"model.weights={folder}", *SIZES]
    config = resolve("infinity-2b", "smoke", "none", given).model
    for cell in cells:
        assert (cell["model"], cell["embedded"]) == ("infinity-2b", False)
        assert cell["provenance"]["model_fingerprint"] == registry.fingerprint(config)
        assert cell["provenance"]["model_files"] == registry.provenance(config)
        assert cell["records"]
    before = {p: p.stat().st_mtime_ns for p in store.glob("*/*/*/manifest.json")}
    run(folder)
    moved = tmp_path / "moved"
    shutil.copytree(folder, moved)
    run(moved)
    after = {p: p.stat().st_mtime_ns for p in store.glob("*/*/*/manifest.json")}
    assert all(after[p] == at for p, at in before.items())
    fresh = {p.relative_to(store).parts[0] for p in after.keys() - before.keys()}
    assert fresh <= {"cell"}, "the same weights elsewhere make no new edit, image or score"


def test_missing_weights_end_the_command_with_their_names(tmp_path: Path) -> None:
    store = tmp_path / "store"
    result = varbench(
        "run", "--model", "infinity-8b", "--method", "none", "--store", str(store),
        f"model.weights={tmp_path}",
    )  # fmt: skip
    assert result.exit_code == 2, result.output
    assert "infinity_8b_weights/model.safetensors.index.json" in result.output
    assert "infinity_vae_d56_f8_14_patchify.pth" in result.output
    assert f"looked in {tmp_path}" in result.output
    assert "Traceback" not in result.output
    assert not list(store.glob("pictures/*"))
