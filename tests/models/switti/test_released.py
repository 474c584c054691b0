"""A released Switti from files of the released format, at tiny size, up to the whole command."""

from __future__ import annotations

import shutil
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path

import pytest
import torch
from safetensors.torch import save_file
from torch import Tensor

from tests.helpers.switti_folder import (
    FOLDERS,
    META,
    SIZES,
    config_of,
    copy,
    empty_caches,
    hub_tokenizer,
    hub_transformer,
    load,
    make_hub,
    varbench,
)
from tests.helpers.switti_tiny import SCHEDULE, TRANSFORMER, tokenizer, transformer
from varbench.conf.compose import model_config, resolve
from varbench.conf.schema import SwittiModelConfig
from varbench.errors import CheckpointError, UserError
from varbench.models import registry
from varbench.models.switti.config import WEIGHTS
from varbench.models.switti.transformer import SwittiTransformer
from varbench.store import Store


@pytest.fixture(scope="module")
def hub(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return make_hub(tmp_path_factory.mktemp("hub"))


@pytest.fixture(autouse=True)
def caches(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    empty_caches(tmp_path, monkeypatch)


def test_a_folder_becomes_the_model_by_name(hub: Path) -> None:
    model = load(hub, "model.batch=3")
    for mine, own in ((model.transformer, transformer()), (model.tokenizer, tokenizer())):
        expected = own.state_dict()
        assert mine.state_dict().keys() == expected.keys()
        assert all(torch.equal(v, expected[k]) for k, v in mine.state_dict().items())
    assert model.transformer.config == TRANSFORMER
    assert (model.name, model.schedule, model.batch) == ("switti", SCHEDULE, 3)
    assert (model.sampling.guidance, model.sampling.top_k, model.sampling.top_p) == (7, 400, 0.95)
    prompts = model.encode(["a red cat", "a blue dog"])
    assert prompts.rows.shape == (2, 77, 20)
    images = model.decode(model.generate(prompts, [("a", 0), ("b", 1)]))
    assert images.shape == (2, 3, 64, 64)
    assert not torch.equal(images[0], images[1])
    assert load(hub, "model.strict=true").batch == 1


def test_frequencies_that_are_not_trained_stay_a_buffer(hub: Path) -> None:
    loaded, built = load(hub).transformer, transformer()
    for kind in ("named_parameters", "named_buffers"):
        mine, own = (list(dict(getattr(m, kind)())) for m in (loaded, built))
        assert mine == own
    assert [name for name, _ in loaded.named_buffers()] == ["crop_embed.weight"]
    assert all(p.requires_grad for p in loaded.parameters())


def test_files_hashes_and_whatever_changes_an_image(hub: Path, tmp_path: Path) -> None:
    config = config_of(hub)
    actual = registry.provenance(config)
    assert list(actual) == [
        "yresearch/Switti",
        "yresearch/VQVAE-Switti",
        "openai/clip-vit-large-patch14",
        "laion/CLIP-ViT-bigG-14-laion2B-39B-b160k",
    ]
    assert list(actual["yresearch/Switti"]["sha256"]) == [WEIGHTS]
    assert {"config.json", "tokenizer.json", WEIGHTS} <= set(actual[list(actual)[3]]["sha256"])
    moved = copy(hub, tmp_path / "moved")
    ours = registry.fingerprint(config)
    assert ours == registry.fingerprint(config_of(moved))
    observed = {
        ours,
        registry.fingerprint(replace(config, sides=(1, 2, 3, 5))),
        registry.fingerprint(replace(config, transformer=replace(TRANSFORMER, causal=True))),
    }
    for folder in FOLDERS:
        with (moved / folder / WEIGHTS).open("ab") as file:
            file.write(b" ")
        observed.add(registry.fingerprint(config_of(moved)))
    assert len(observed) == 7


def test_missing_files_are_named_with_hub_id_and_folder(hub: Path, tmp_path: Path) -> None:
    root = copy(hub, tmp_path / "w")
    (root / "VQVAE-Switti" / WEIGHTS).unlink()
    (root / "clip-vit-large-patch14" / "tokenizer.json").unlink()
    with pytest.raises(CheckpointError) as caught:
        load(root)
    message = str(caught.value)
    assert f"looked in {root}" in message
    assert f"yresearch/VQVAE-Switti: {WEIGHTS}\n" in message
    assert "openai/clip-vit-large-patch14: tokenizer.json\n" in message
    assert "--local-dir DIR/VQVAE-Switti" in message
    assert "bigG" not in message
    assert "yresearch/Switti:" not in message


def test_offline_with_an_empty_cache() -> None:
    result = varbench("run", "--model", "switti-1024-ar", "--method", "none")
    assert result.exit_code == 2, result.output
    for words in (
        "HF_HUB_OFFLINE",
        "hf download yresearch/Switti-1024-AR --revision main --include 'model.safetensors' "
        "--local-dir DIR/Switti-1024-AR",
        "--local-dir DIR/CLIP-ViT-bigG-14-laion2B-39B-b160k",
    ):
        assert words in result.output
    assert "Traceback" not in result.output


def test_list_shows_sizes_memory_and_the_weights_folder(tmp_path: Path) -> None:
    rows = {
        line.split()[0]: line for line in varbench("list", "models").output.splitlines() if line
    }
    for figure in ("3.4 B", "13.4 GB", str(tmp_path / "hub-cache"), "missing 10 of its"):
        assert figure in rows["switti"]
    assert "22.1 GB" in rows["switti-1024-ar"]


Change = Callable[[dict[str, Tensor]], object]
DAMAGE: list[tuple[int, Change, str]] = [
    (0, lambda t: t.pop("blocks.1.ffn.up_proj.weight"), r"missing: blocks\.1\.ffn\.up"),
    (0, lambda t: t.pop("crop_embed.weight"), r"missing: crop_embed\.weight"),
    (0, lambda t: t.update(pos_1LC=torch.zeros(1, 30, 32)), "extra: pos_1LC"),
    (0, lambda t: t.update({"head.bias": torch.zeros(4096)}), r"misshapen: head\.bias \(4096,\)"),
    (1, lambda t: t.pop("decoder.mid.attn_1.qkv.weight"), r"missing: decoder\.mid\.attn_1"),
    (1, lambda t: t.pop("quantize.quant_resi.qresi_ls.3.bias"), r"missing: .*qresi_ls\.3\.bias"),
    (1, lambda t: t.update({"quantize.more": torch.zeros(2)}), r"extra: quantize\.more"),
    (
        1,
        lambda t: t.update({"quantize.embedding.weight": torch.zeros(9, 8)}),
        r"embedding\.weight \(9, 8\), expected \(24, 8\)",
    ),
]


@pytest.mark.parametrize(("part", "change", "message"), DAMAGE)
def test_a_file_must_fit(
    part: int, change: Change, message: str, hub: Path, tmp_path: Path
) -> None:
    root = copy(hub, tmp_path / "hub")
    tensors = (hub_transformer(), hub_tokenizer())[part]
    change(tensors)
    save_file(tensors, root / FOLDERS[part] / WEIGHTS)
    with pytest.raises(CheckpointError, match=message) as caught:
        load(root)
    assert str(root / FOLDERS[part] / WEIGHTS) in str(caught.value)


def test_the_other_variant_and_resolution_are_refused(hub: Path, tmp_path: Path) -> None:
    """Their keys and shapes are the same; the mask in the file tells."""
    root = copy(hub, tmp_path / "hub")
    shutil.copytree(root / "Switti", root / "Switti-AR")
    for held, causal in (("Switti", False), ("Switti AR", True)):
        for name in ("Switti", "Switti-AR"):
            save_file(hub_transformer(causal), root / name / WEIGHTS)
        right, wrong = ("switti-ar", "switti") if causal else ("switti", "switti-ar")
        assert load(root, name=right).transformer.config.causal is causal
        with pytest.raises(CheckpointError, match=f"variant: {held}, .*choose the other model"):
            load(root, name=wrong)
    with pytest.raises(CheckpointError, match="another resolution: 30 tokens, not 39"):
        load(root, "model.sides=[1,2,3,5]", name="switti-ar")


@pytest.mark.slow
def test_the_whole_command(hub: Path, tmp_path: Path) -> None:
    """Erase, generate, score, record; and again: nothing is made twice."""
    store = tmp_path / "store"
    groups = ("target", "neighbours", "unrelated")
    small = [f"suite.groups.{g}.{k}" for g in groups for k in ("prompts=3", "seeds=1")]
    small += ["suite.robustness.prompts=0"]
    command = (
        "run", "--model", "switti", "--method", "svare", "--store", str(store),
        f"model.weights={hub}", *SIZES, *small, "suite.block=3", "method.train.steps=2",
    )  # fmt: skip
    result = varbench(*command)
    assert result.exit_code == 0, result.output
    cells = [e.json("cell.json") for e in Store(store).entries("cell")]
    assert {(c["model"], c["method"]) for c in cells} == {("switti", "none"), ("switti", "svare")}
    for cell in cells:
        assert cell["provenance"]["model_files"] == registry.provenance(config_of(hub))
        assert cell["records"]
    before = {p: p.stat().st_mtime_ns for p in store.glob("*/*/*/manifest.json")}
    assert varbench(*command).exit_code == 0
    assert before == {p: p.stat().st_mtime_ns for p in store.glob("*/*/*/manifest.json")}


# -- full sizes -------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("name", "tokens", "gigabytes"),
    [
        ("switti", 2240, 9.9),
        ("switti-ar", 2240, 9.9),
        ("switti-1024", 9451, 10.2),
        ("switti-1024-ar", 9451, 10.2),
    ],
)
def test_full_sizes_are_those_of_the_hub_files(name: str, tokens: int, gigabytes: float) -> None:
    config = model_config(name)
    assert isinstance(config, SwittiModelConfig)
    assert sum(side * side for side in config.sides) == tokens
    assert config.transformer.causal == name.endswith("ar")
    assert config.files.transformer.lower() == f"yresearch/{name}"
    with META:
        made = SwittiTransformer(config.transformer)
    weights = sum(value.numel() for value in made.state_dict().values())
    bytes_of_file = 4 * weights + 4 * tokens**2 + 8 * tokens  # the mask and the levels
    assert round(bytes_of_file / 1e9, 1) == gigabytes
    if tokens == 2240:  # the hub counts the mask as parameters
        assert round((weights + tokens**2) / 1e9, 2) == 2.48


@pytest.mark.parametrize(
    ("override", "words"),
    [
        ("model.transformer.levels=9", "sides must be 9"),
        ("model.sides=[2,3,4,5,6,7,8,9,10,11]", "from 1 on"),
        ("model.tokenizer.vocabulary=24", "agree on vocabulary"),
        ("model.transformer.heads=7", "multiple of 4"),
        ("model.files.transformer_revison=main", "model.files.transformer_revision"),
        ("model.batch=0", "batch must be at least 1"),
    ],
)
def test_wrong_settings_are_refused_with_the_fix(override: str, words: str) -> None:
    with pytest.raises(UserError, match=words):
        resolve("switti", "smoke", "none", [override])
