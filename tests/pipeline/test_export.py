"""Exported edits: loaded back, as a checkpoint or as an edit, they are the same bits."""

from __future__ import annotations

import json
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
import torch
from safetensors.torch import load_file
from torch import Tensor

from tests.helpers import switti_folder
from tests.helpers.cli import small_groups, varbench
from tests.helpers.infinity_released import REFERENCE, SIZES, released_folder
from tests.helpers.weights_files import sharded
from varbench.conf.compose import resolve
from varbench.errors import CheckpointError, UserError
from varbench.methods.base import Edit, applied
from varbench.models import registry
from varbench.models.gallery import model as gallery
from varbench.models.weights.checkpoint import PLAIN
from varbench.models.weights.rewrite import WeightsFile, rewrite
from varbench.pipeline.export import EDIT_FILE, export
from varbench.pipeline.plan import Request, plan
from varbench.pipeline.stages.edit import edit_spec
from varbench.store import Store


@pytest.fixture(scope="module")
def folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return released_folder(tmp_path_factory.mktemp("released") / "weights")


@pytest.fixture(autouse=True)
def empty_cache(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("XDG_CACHE_HOME", str(tmp_path / "cache"))


def request(model: str = "gallery", *overrides: str, method: str = "svare") -> Request:
    return Request(model, (method,), ("face-ada",), "smoke", (0,), overrides)


def edited(asked: Request, store: Store) -> tuple[Any, Edit]:
    """A model, and an edit of it that the store takes for the one that the request names."""
    cell = plan(asked)[-1]
    model = registry.load_model(cell.config.model, "cpu")
    torch.manual_seed(1)
    # In float32 whatever the model's precision, as a training with master weights leaves them.
    tensors = {
        name: value.float() + 0.01 * torch.randn(value.shape)
        for name, value in model.weights().state_dict().items()
    }
    edit = Edit(tensors)
    spec = edit_spec(cell, registry.fingerprint(cell.config.model))
    assert spec is not None
    with store.write("edit", spec) as writer:
        edit.save(writer.dir / EDIT_FILE)
        writer.meta["parameters"] = sum(t.numel() for t in tensors.values())
    return model, edit


def weights_of(model: Any, edit: Edit | None = None) -> dict[str, Tensor]:
    with applied(model, edit):
        return {name: t.clone() for name, t in model.weights().state_dict().items()}


def same(a: dict[str, Tensor], b: dict[str, Tensor]) -> bool:
    return a.keys() == b.keys() and all(torch.equal(a[name], b[name]) for name in a)


def test_the_gallery_comes_back_bit_by_bit_and_draws_the_same(tmp_path: Path) -> None:
    store, asked = Store(tmp_path / "store"), request()
    model, edit = edited(asked, store)
    out = tmp_path / "out"
    written = export(asked, store, "checkpoint", out)
    assert {path.name for path in written} == {
        "transformer.safetensors", "README.md", "edit.json",
    }  # fmt: skip
    back = gallery.load(plan(asked)[-1].config.model, folder=out)
    assert same(weights_of(back), weights_of(model, edit))
    assert not same(weights_of(back), weights_of(model))
    with applied(model, edit):
        wanted = model.decode(model.generate(model.encode(["ada"]), [("x", 0)]))
    assert torch.equal(back.decode(back.generate(back.encode(["ada"]), [("x", 0)])), wanted)
    card = (out / "README.md").read_text()
    assert not (out / "README.md").is_symlink()
    original = Path(gallery.__file__).parent / "weights" / "README.md"
    assert original.read_text().startswith("# Weights of the Gallery")  # not written through a link
    assert plan(asked)[-1].command in card and "Not measured yet" in card
    assert json.loads((out / "edit.json").read_text())["method"] == "svare"


def test_an_edit_alone_is_the_changed_tensors(tmp_path: Path) -> None:
    store, asked = Store(tmp_path / "store"), request()
    model, edit = edited(asked, store)
    export(asked, store, "edit", tmp_path / "out")
    again = Edit.load(tmp_path / "out" / EDIT_FILE)
    assert same(dict(again.tensors), dict(edit.tensors))
    assert same(weights_of(model, again), weights_of(model, edit))


def nested(root: Path, tensors: dict[str, Tensor]) -> str:
    torch.save({"trainer": {"gpt_fsdp": tensors}, "epoch": 3}, root / "nested.pth")
    return "nested.pth"


def chunked_safetensors(root: Path, tensors: dict[str, Tensor]) -> str:
    sharded(root, tensors)
    return "model.safetensors.index.json"


@pytest.mark.parametrize("layout", [nested, chunked_safetensors])
@pytest.mark.parametrize("precision", ["fp32", "bf16"])
def test_a_released_infinity_comes_back_in_its_own_format(
    folder: Path,
    tmp_path: Path,
    layout: Callable[[Path, dict[str, Tensor]], str],
    precision: str,
) -> None:
    name = layout(folder, load_file(REFERENCE / "transformer.safetensors"))
    rest = (*SIZES, f"model.precision={precision}", f"model.files.transformer={name}")
    store, asked = (
        Store(tmp_path / "store"),
        request("infinity-2b", f"model.weights={folder}", *rest),
    )
    model, edit = edited(asked, store)
    out = tmp_path / "out"
    export(asked, store, "checkpoint", out)
    config = resolve("infinity-2b", "smoke", "none", (f"model.weights={out}", *rest)).model
    back: Any = registry.load_model(config, "cpu")
    assert same(weights_of(back), weights_of(model, edit))
    assert same(back.tokenizer.state_dict(), model.tokenizer.state_dict())
    assert (out / "infinity_vae_d32reg.pth").is_symlink()


def test_a_released_switti_comes_back_in_its_own_format(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    switti_folder.empty_caches(tmp_path, monkeypatch)
    (tmp_path / "hub").mkdir()
    hub = switti_folder.make_hub(tmp_path / "hub")
    given = (f"model.weights={hub}", *switti_folder.SIZES)
    store, asked = Store(tmp_path / "store"), request("switti", *given)
    model, edit = edited(asked, store)
    export(asked, store, "checkpoint", tmp_path / "out")
    back = switti_folder.load(tmp_path / "out")
    assert same(weights_of(back), weights_of(model, edit))


def test_rows_that_the_model_does_not_read_stay(tmp_path: Path) -> None:
    torch.save({"table": torch.arange(12.0).reshape(4, 3)}, tmp_path / "a.pth")
    file = WeightsFile(tmp_path / "a.pth", PLAIN)
    rewrite(file, {"table": torch.full((2, 3), -1.0)}, tmp_path / "out")
    found = torch.load(tmp_path / "out" / "a.pth")["table"]
    assert found.tolist() == [[-1] * 3, [-1] * 3, [6, 7, 8], [9, 10, 11]]
    with pytest.raises(CheckpointError, match=r"table is \(4, 3\), which an edit of \(5, 3\)"):
        rewrite(file, {"table": torch.zeros(5, 3)}, tmp_path / "out2")
    with pytest.raises(CheckpointError, match="no place for the edited tensor chair"):
        rewrite(file, {"chair": torch.zeros(3)}, tmp_path / "out2")


def test_what_cannot_be_exported_is_refused_before_anything_is_written(tmp_path: Path) -> None:
    store, out = Store(tmp_path / "store"), tmp_path / "out"
    with pytest.raises(UserError, match="no such edit yet; run `varbench run --model gallery"):
        export(request(), store, "checkpoint", out)
    with pytest.raises(UserError, match="sld changes no weights"):
        export(request(method="sld"), store, "checkpoint", out)
    with pytest.raises(UserError, match="name a method"):
        export(request(method="none"), store, "checkpoint", out)
    with pytest.raises(UserError, match="unknown format 'lora'"):
        export(request(), store, "lora", out)
    two = Request("gallery", ("svare",), ("face-ada", "church"), "smoke", (0,))
    with pytest.raises(UserError, match="one method and one concept"):
        export(two, store, "edit", out)
    assert not out.exists()
    edited(request(), store)
    out.mkdir()
    (out / "mine.txt").write_text("mine")
    with pytest.raises(UserError, match="in use"):
        export(request(), store, "edit", out)
    assert [p.name for p in out.iterdir()] == ["mine.txt"]


def test_by_the_command_line_with_the_numbers_that_were_measured(tmp_path: Path) -> None:
    store, out = str(tmp_path / "store"), tmp_path / "out"
    tiny = [
        *small_groups(2, 1),
        "suite.probe.prompts=0",
        "suite.robustness.prompts=0",
        "suite.block=2",
    ]
    settings = ["method.train.steps=1", "pairs=2"]
    made = varbench("run", "--method", "vare", "--store", store, *tiny, *settings)
    assert made.exit_code == 0, made.output
    asked = ["export", "--method", "vare", "--concept", "face-ada", "--store", store, *settings]
    done = varbench(*asked, "--out", out)
    assert done.exit_code == 0, done.output
    card = (out / "README.md").read_text()
    assert "| method" in card and "| vare" in card and "| none" in card
    again = varbench(*asked, "--out", out)
    assert again.exit_code == 2 and "in use" in again.output
