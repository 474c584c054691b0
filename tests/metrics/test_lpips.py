"""LPIPS against its package's own forward pass, with a random trunk in torchvision's format."""

from __future__ import annotations

import warnings
from pathlib import Path
from typing import Any

import lpips
import numpy as np
import pytest
import torch
from PIL import Image
from torch import Tensor, nn
from torchvision.models import alexnet

from varbench.errors import CheckpointError, UserError
from varbench.scoring.scorers import images as shared
from varbench.scoring.scorers import lpips as ours
from varbench.scoring.scorers.lpips import LpipsComparer, load_lpips, read_square


def features() -> nn.Sequential:
    """AlexNet's layers that LPIPS reads, empty; its classifier would have 230 MB."""
    with torch.device("meta"):
        layers: nn.Sequential = alexnet().features
    return layers.to_empty(device="cpu")


@pytest.fixture(scope="module")
def trunk(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """AlexNet's features at random, as torchvision saves them."""
    torch.manual_seed(3)
    state = {}
    for name, value in features().state_dict().items():
        spread = (2 / value[0].numel()) ** 0.5 if value.ndim > 1 else 0.1
        state[f"features.{name}"] = spread * torch.randn(value.shape)
    path = tmp_path_factory.mktemp("trunk") / "alexnet.pth"
    torch.save(state, path)
    return path


@pytest.fixture(scope="module")
def loaded(trunk: Path) -> nn.Module:
    return load_lpips(trunk)


@pytest.fixture
def comparer(loaded: nn.Module, monkeypatch: pytest.MonkeyPatch) -> LpipsComparer:
    monkeypatch.setattr(ours, "network_path", Path)
    monkeypatch.setattr(ours, "load_lpips", lambda path: {Path(ours.TRUNK): loaded}[path])
    monkeypatch.setattr(shared, "network_checksum", lambda name: f"checksum of {name}")
    return LpipsComparer(batch=3)


@pytest.fixture(scope="module")
def files(tmp_path_factory: pytest.TempPathFactory) -> list[Path]:
    """Three images of 256 pixels, and one that is neither square nor as large."""
    rng, folder = np.random.default_rng(0), tmp_path_factory.mktemp("pictures")
    paths = [folder / f"{i:03d}.png" for i in range(4)]
    for path in paths:
        small = Image.fromarray(rng.integers(0, 256, (8, 8, 3), dtype=np.uint8))
        size = (96, 64) if path == paths[-1] else (256, 256)
        small.resize(size, Image.Resampling.BICUBIC).save(path)
    return paths


def package(trunk: Path) -> nn.Module:
    """The package's own network; its trunk's layers are filled one by one, by what they are."""
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        network: Any = lpips.LPIPS(net="alex", pnet_rand=True, verbose=False)
    own, state = features(), torch.load(trunk)
    own.load_state_dict({k.removeprefix("features."): v for k, v in state.items()})
    sources = [layer for layer in own if isinstance(layer, nn.Conv2d)]
    targets = [module for module in network.net.modules() if isinstance(module, nn.Conv2d)]
    for source, target in zip(sources, targets, strict=True):
        target.load_state_dict(source.state_dict())
    return network


def opened(file: Path) -> Tensor:
    with Image.open(file) as image:
        return lpips.im2tensor(np.asarray(image))  # 0..255 to -1..1


def test_the_distance_is_the_packages(
    comparer: LpipsComparer, trunk: Path, files: list[Path]
) -> None:
    left, right = files[:2], files[1:3]
    scores, network = comparer.compare(left, right), package(trunk)
    with torch.no_grad():
        pairs = zip(left, right, strict=True)
        expected = [float(network(opened(a), opened(b))) for a, b in pairs]
    assert scores.dtype == np.float32
    np.testing.assert_allclose(scores, expected, rtol=1e-5)
    assert min(expected) > 0.01
    assert np.ptp(scores) > 1e-3


def test_it_is_zero_for_the_same_image_and_symmetric(
    comparer: LpipsComparer, files: list[Path]
) -> None:
    np.testing.assert_array_equal(comparer.compare(files, files), 0)
    there, back = comparer.compare(files, files[::-1]), comparer.compare(files[::-1], files)
    np.testing.assert_allclose(there, back, rtol=1e-6)


def test_neither_batch_nor_order_matters(comparer: LpipsComparer, files: list[Path]) -> None:
    left, right = [files[0], *files], [files[2], *files[::-1]]
    whole = LpipsComparer(batch=64).compare(left, right)
    np.testing.assert_allclose(whole, comparer.compare(left, right), rtol=1e-4)
    back = LpipsComparer(batch=1).compare(left[::-1], right[::-1])
    np.testing.assert_allclose(whole, back[::-1], rtol=1e-4)


def test_images_come_to_squares_of_256_between_minus_one_and_one(
    files: list[Path], tmp_path: Path
) -> None:
    assert read_square(files[3]).shape == (3, 256, 256)
    np.testing.assert_allclose(read_square(files[0]), opened(files[0])[0], atol=1e-6)
    Image.new("L", (512, 512), 255).save(tmp_path / "white.png")
    np.testing.assert_allclose(read_square(tmp_path / "white.png"), 1, atol=1e-6)
    rng = np.random.default_rng(1)  # bicubic overshoots at edges this hard
    Image.fromarray(rng.choice([0, 255], (64, 64)).astype(np.uint8)).save(tmp_path / "hard.png")
    assert read_square(tmp_path / "hard.png").abs().max() == 1


def test_shrinking_is_antialiased(tmp_path: Path) -> None:
    """Stripes one pixel wide become grey, not stripes of another width."""
    stripes = np.tile(np.array([0, 255], np.uint8), (1024, 512))
    Image.fromarray(stripes).save(tmp_path / "stripes.png")
    assert read_square(tmp_path / "stripes.png")[:, 8:-8, 8:-8].abs().max() < 0.05


def test_the_fingerprint_follows_the_trunk_and_loads_nothing(
    comparer: LpipsComparer, monkeypatch: pytest.MonkeyPatch
) -> None:
    before = comparer.fingerprint()
    assert before == LpipsComparer(batch=7).fingerprint()
    assert "_network" not in vars(comparer)
    monkeypatch.setattr(shared, "network_checksum", lambda name: "another")
    assert comparer.fingerprint() != before


def test_bad_files_and_lists_are_refused(
    comparer: LpipsComparer, files: list[Path], tmp_path: Path
) -> None:
    for left, right in (([], []), (files, files[:2])):
        with pytest.raises(ValueError, match="need pairs"):
            comparer.compare(left, right)
    torch.save({"features.0.weight": torch.zeros(1)}, tmp_path / "other.pth")
    (tmp_path / "broken.pth").write_bytes(b"nothing")
    for name in ("other.pth", "broken.pth"):
        with pytest.raises(CheckpointError, match=f"{name} is not torchvision's AlexNet; fetch"):
            load_lpips(tmp_path / name)


def test_without_its_file_the_fix_is_named(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    monkeypatch.setenv("VARBENCH_DATA", str(tmp_path))
    monkeypatch.setenv("TORCH_HOME", str(tmp_path))
    with pytest.raises(UserError, match="varbench fetch lpips-alexnet"):
        LpipsComparer().fingerprint()
