"""The standard scorers on files of the real formats, with random weights."""

from __future__ import annotations

import functools
from pathlib import Path
from typing import Any

import numpy as np
import open_clip
import pytest
import timm
import torch
from PIL import Image
from torch import Tensor, nn

from tests.helpers.scoring import new_scorer
from varbench.data.published import catalog
from varbench.data.published.data_folder import MissingNetworkError
from varbench.errors import CheckpointError
from varbench.scoring.base import Scorer
from varbench.scoring.registry import SCORERS
from varbench.scoring.scorers import clip, features, images
from varbench.scoring.scorers.clip import ClipB32, ClipL14, load_openai_clip
from varbench.scoring.scorers.features import (
    DINO,
    DinoScorer,
    InceptionScorer,
    load_dino,
)

PROMPTS = ["a red boat", "a painting of a house by the sea", "a clock", "two cups", "a dog"]
TINY = {
    "embed_dim": 16,
    "quick_gelu": True,
    "vision_cfg": {"image_size": 64, "layers": 2, "width": 64, "patch_size": 16},
    "text_cfg": {
        "context_length": 77, "vocab_size": 49408, "width": 64, "heads": 1, "layers": 2,
    },
}  # fmt: skip
shallow = functools.partial(timm.create_model, depth=1)


class Archived(nn.Module):
    """Stands in for OpenAI's archives: weights in half precision, and settings."""

    def __init__(self, state: dict[str, Tensor]) -> None:
        super().__init__()
        for name, value in state.items():
            module: nn.Module = self
            *path, last = name.split(".")
            for part in path:
                if not hasattr(module, part):
                    module.add_module(part, nn.Module())
                module = getattr(module, part)
            half = value.half() if value.ndim > 1 else value
            module.register_parameter(last, nn.Parameter(half, requires_grad=False))
        for name, number in (("input_resolution", 64), ("context_length", 77)):
            self.register_buffer(name, torch.tensor(number))
        self.register_buffer("vocab_size", torch.tensor(49408))

    def forward(self, images: Tensor) -> Tensor:
        return images


class Layers(nn.Module):
    """Stands in for Inception: any image of 299 pixels in -1..1 to 2,048 numbers."""

    def __init__(self) -> None:
        super().__init__()
        self.conv = nn.Conv2d(3, 8, 16, stride=16)
        self.pool = nn.AdaptiveAvgPool2d(16)

    def forward(self, images: Tensor) -> Tensor:
        return self.pool(self.conv(images)).tanh()


class Inception(nn.Module):
    def __init__(self) -> None:
        super().__init__()
        self.layers = Layers()

    def forward(self, images: Tensor) -> Tensor:
        return self.layers(images)


pytestmark = pytest.mark.filterwarnings("ignore:`torch.jit:FutureWarning")


@pytest.fixture(scope="module")
def files(tmp_path_factory: pytest.TempPathFactory) -> list[Path]:
    rng, folder = np.random.default_rng(0), tmp_path_factory.mktemp("pictures")
    paths = []
    for i in range(5):
        small = Image.fromarray(rng.integers(0, 256, (6, 6, 3), dtype=np.uint8))
        small.resize((90, 90), Image.Resampling.BICUBIC).save(folder / f"{i:03d}.png")
        paths.append(folder / f"{i:03d}.png")
    return paths


@pytest.fixture(scope="module")
def tiny_clip(tmp_path_factory: pytest.TempPathFactory) -> tuple[Path, Path, Any]:
    """The same tiny CLIP as an archive and as a state dict, and the network itself."""
    torch.manual_seed(0)
    folder, network = tmp_path_factory.mktemp("clip"), open_clip.CLIP(**TINY).eval()
    state = {k: v.half().float() if v.ndim > 1 else v for k, v in network.state_dict().items()}
    network.load_state_dict(state)
    torch.jit.save(torch.jit.trace(Archived(state), torch.zeros(1)), folder / "archive.pt")
    torch.save(state, folder / "state.pt")
    return folder / "archive.pt", folder / "state.pt", network


@pytest.fixture(scope="module")
def weights(
    tmp_path_factory: pytest.TempPathFactory, tiny_clip: tuple[Path, Path, Any]
) -> dict[str, Path]:
    """A file of the real format for each network; CLIP and DINOv2 are smaller than the real."""
    torch.manual_seed(1)
    folder = tmp_path_factory.mktemp("weights")
    inception = folder / Path(catalog.networks()["inception-v3"].file).name
    torch.jit.save(torch.jit.script(Inception().eval()), inception)
    return {
        "clip-vit-l-14": tiny_clip[0],
        "clip-vit-b-32": tiny_clip[1],
        "inception-v3": inception,
        "dinov2-vit-b-14": dino_file(folder / "dinov2.pth"),
    }


def dino_file(path: Path) -> Path:
    """Random weights in the layout of DINOv2's authors, who also keep a mask token."""
    network = shallow(DINO, pretrained=False, num_classes=0)
    state = network.state_dict() | {"mask_token": torch.zeros(1, 768)}
    for name, value in state.items():  # new networks scale their layers to nearly nothing
        state[name] = torch.ones_like(value) if name.endswith("gamma") else value
    state["pos_embed"] = torch.randn(1, 1 + 37**2, 768) / 10
    torch.save(state, path)
    return path


@pytest.fixture
def installed(weights: dict[str, Path], monkeypatch: pytest.MonkeyPatch) -> pytest.MonkeyPatch:
    """The scorers find these files, and expect the tiny networks in them."""
    monkeypatch.setattr(open_clip, "get_model_config", lambda name: TINY)
    monkeypatch.setattr(images, "network_checksum", lambda name: f"checksum of {name}")
    for module in (clip, features):
        monkeypatch.setattr(module, "network_path", weights.__getitem__)
    monkeypatch.setattr(timm, "create_model", shallow)
    return monkeypatch


def test_the_set_has_these_roles() -> None:
    assert {"clip", "clip_b32", "features", "dino"} <= set(SCORERS["standard"])


@pytest.mark.parametrize("kind", [ClipL14, ClipB32, InceptionScorer, DinoScorer])
def test_rows_do_not_depend_on_batch_or_order(
    kind: type[Any], files: list[Path], installed: object
) -> None:
    whole = kind(batch=8).score(files, PROMPTS)
    back = kind(batch=2).score(files[::-1], PROMPTS[::-1])
    assert set(whole) in ({"cosine", "image", "text"}, {"features"})
    for name, rows in whole.items():
        assert rows.dtype == np.float32
        assert len(rows) == 5
        np.testing.assert_allclose(rows, back[name][::-1], atol=2e-5)
        assert np.abs(rows - rows[:1]).max() > 1e-4  # images and captions are told apart


def test_an_archive_and_a_state_dict_are_the_same_network(
    tiny_clip: tuple[Path, Path, Any], files: list[Path], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(open_clip, "get_model_config", lambda name: TINY)
    archive, plain, network = tiny_clip
    for path in (archive, plain):
        model, preprocess, tokenizer = load_openai_clip(path, "tiny")
        assert {p.dtype for p in model.parameters()} == {torch.float32}
        with Image.open(files[0]) as image, torch.no_grad():
            pixels = preprocess(image)[None]
            tokens = tokenizer(PROMPTS)
            assert torch.equal(model.encode_image(pixels), network.encode_image(pixels))
            assert torch.equal(model.encode_text(tokens), network.encode_text(tokens))
    assert tokens.shape == (5, 77)


@pytest.mark.parametrize(
    ("kind", "embedding", "patch", "width"), [(ClipL14, 768, 14, 1024), (ClipB32, 512, 32, 768)]
)
def test_the_architectures_are_openais(
    kind: type[ClipL14], embedding: int, patch: int, width: int
) -> None:
    config = open_clip.get_model_config(kind.architecture)
    vision = config["vision_cfg"]
    assert config["quick_gelu"] is True
    assert (config["embed_dim"], vision["patch_size"], vision["width"]) == (embedding, patch, width)
    assert vision["image_size"] == 224


def test_clip_reads_what_open_clip_prescribes_for_openais_weights(
    tiny_clip: tuple[Path, Path, Any], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(open_clip, "get_model_config", lambda name: TINY)
    _, preprocess, tokenizer = load_openai_clip(tiny_clip[1], "tiny")
    tag = open_clip.get_pretrained_cfg("ViT-L-14", "openai")
    assert tag["interpolation"] == "bicubic"
    grey = Image.new("RGB", (200, 100), (128, 128, 128))
    expected = (128 / 255 - torch.tensor(tag["mean"])) / torch.tensor(tag["std"])
    pixels = preprocess(grey)
    assert pixels.shape == (3, 64, 64)
    torch.testing.assert_close(pixels[:, 5, 5], expected)
    assert tokenizer(["word " * 200]).shape == (1, 77)  # cut, not refused


def test_inception_is_clean_fids_own_path(
    weights: dict[str, Path], files: list[Path], installed: object
) -> None:
    from cleanfid import fid
    from cleanfid.inception_torchscript import InceptionV3W

    features = InceptionScorer().score(files, PROMPTS)["features"]
    network = InceptionV3W(str(weights["inception-v3"].parent), download=False)
    expected = fid.get_files_features(
        [str(file) for file in files], model=network, num_workers=0, mode="clean",
        device=torch.device("cpu"), verbose=False,
    )  # fmt: skip
    assert features.shape == (5, 2048)
    np.testing.assert_array_equal(features, expected)


def test_dino_sees_imagenets_normalisation_and_timms_own_class_token(
    weights: dict[str, Path], files: list[Path], installed: object
) -> None:
    features = DinoScorer().score(files, PROMPTS)["features"]
    network = shallow(DINO, pretrained=False, num_classes=0, img_size=224)
    state = torch.load(weights["dinov2-vit-b-14"], weights_only=True)
    from timm.models.vision_transformer import checkpoint_filter_fn

    network.load_state_dict(checkpoint_filter_fn(state, network))
    pixels = []
    for file in files:  # Pillow resizes 8-bit images to whole numbers, clean-fid does not
        with Image.open(file) as image:
            small = image.resize((224, 224), Image.Resampling.BICUBIC)
            pixels.append(torch.from_numpy(np.array(small)).permute(2, 0, 1).float() / 255)
    mean, deviation = (
        torch.tensor(network.pretrained_cfg[k]).view(3, 1, 1) for k in ("mean", "std")
    )
    with torch.no_grad():
        rows = network.eval().forward_features((torch.stack(pixels) - mean) / deviation)[:, 0]
    assert features.shape == (5, 768)
    distance = np.linalg.norm(features - rows.numpy(), axis=1)
    assert distance.max() < 0.02 * np.linalg.norm(rows.numpy(), axis=1).min()


def test_fingerprints_follow_the_file_and_load_no_network(
    installed: pytest.MonkeyPatch,
) -> None:
    def refuse(*args: object) -> None:
        raise AssertionError("a network was loaded for its fingerprint")

    for module in (clip, features):
        installed.setattr(module, "network_path", refuse)
    kinds: list[Scorer] = [ClipL14(), ClipB32(), InceptionScorer(), DinoScorer()]
    before = [kind.fingerprint() for kind in kinds]
    assert len(set(before)) == 4
    assert before == [kind.fingerprint() for kind in kinds]
    installed.setattr(images, "network_checksum", lambda name: f"another {name}")
    assert not set(before) & {kind.fingerprint() for kind in kinds}


@pytest.mark.parametrize("role", ["clip", "clip_b32", "features", "dino"])
def test_offline_the_error_names_file_and_fix(
    role: str, files: list[Path], tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("VARBENCH_DATA", str(tmp_path))
    folders = dict.fromkeys(catalog._LIBRARY_FOLDERS, lambda: tmp_path)
    monkeypatch.setattr(catalog, "_LIBRARY_FOLDERS", folders)
    who = new_scorer(role, network_set="standard")
    network = catalog.networks()[getattr(who, "network")]  # noqa: B009
    for ask in (who.fingerprint, lambda: who.score(files, PROMPTS)):
        with pytest.raises(MissingNetworkError) as error:
            ask()
        assert Path(network.file).name in str(error.value)
        assert f"varbench fetch {network.name}" in str(error.value)


def test_a_file_of_something_else_is_refused_by_name(
    weights: dict[str, Path], tmp_path: Path, installed: pytest.MonkeyPatch
) -> None:
    damaged = tmp_path / Path(catalog.networks()["inception-v3"].file).name
    damaged.write_bytes(b"half a file")
    with pytest.raises(CheckpointError, match=r"inception-2015-12-05\.pt is not clean-fid's"):
        features.load_inception(damaged)
    for path in (damaged, weights["clip-vit-b-32"]):
        with pytest.raises(CheckpointError, match="is not vit_base_patch14_dinov2; fetch it"):
            load_dino(path)
    for path in (damaged, weights["dinov2-vit-b-14"]):
        with pytest.raises(CheckpointError, match="is not tiny; fetch it again"):
            load_openai_clip(path, "tiny")
