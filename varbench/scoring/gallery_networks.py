"""The Gallery's own judges: a classifier, a feature network and a tiny CLIP, all shipped.

They were trained on renders of the Gallery and on its tokenizer's reconstructions of them
(`tools.gallery.train`), so they are exact on such images and useless on others. The
feature network has its own seed and its own task, so that Frechet distances do not depend on the
classifier that decides whether an erasure worked.

A folder of judges holds ``judge.safetensors``, ``features.safetensors`` and ``clip/`` (in
open_clip's own layout). Label names lie in the files' metadata, not in code.
"""

from __future__ import annotations

import json
from collections.abc import Callable, Mapping, Sequence
from pathlib import Path
from typing import Any, ClassVar, TypeVar

import torch
import torch.nn.functional as F
from PIL import Image
from safetensors import safe_open
from torch import Tensor, nn

from varbench.utils.files import packaged

SIDE = 64
VERSION = 1
JUDGE_FILE, FEATURES_FILE, CLIP_FOLDER = "judge.safetensors", "features.safetensors", "clip"
CLIP_FILE = "open_clip_model.safetensors"
_WIDTHS = (32, 64, 128)

Labels = dict[str, tuple[str, ...]]
"""Head -> its label names, in the order of its logits."""
ClipParts = tuple[Any, Callable[[Image.Image], Tensor], Callable[[list[str]], Tensor]]
"""Model, preprocessing (PIL image -> `[3, H, W]`) and tokenizer (texts -> `[B, T]`, which cuts long
ones), as open_clip makes them."""


def to_side(images: Tensor) -> Tensor:
    """``[B, 3, H, W]`` in [0, 1] -> ``[B, 3, 64, 64]``; bilinear with antialias, squashed.

    Raises:
        ValueError: another shape, or not float.
    """
    if images.ndim != 4 or images.shape[1] != 3 or not images.is_floating_point():
        raise ValueError(
            "judges need float images [B, 3, H, W] in [0, 1], "
            f"got {images.dtype} {list(images.shape)}"
        )
    if images.shape[-2:] == (SIDE, SIDE):
        return images
    return F.interpolate(images, size=(SIDE, SIDE), mode="bilinear", antialias=True)


def _conv(inp: int, out: int, stride: int = 1) -> nn.Sequential:
    return nn.Sequential(
        nn.Conv2d(inp, out, 3, stride, padding=1, bias=False), nn.BatchNorm2d(out), nn.SiLU()
    )


class _Residual(nn.Module):
    def __init__(self, width: int) -> None:
        super().__init__()
        self.inner = _conv(width, width)
        self.outer = nn.Sequential(
            nn.Conv2d(width, width, 3, padding=1, bias=False), nn.BatchNorm2d(width)
        )

    def forward(self, x: Tensor) -> Tensor:
        return F.silu(x + self.outer(self.inner(x)))


class _Trunk(nn.Module):
    """Images -> ``[B, 2 * widths[-1]]``: means and maxima, so that small objects count."""

    def __init__(self, widths: Sequence[int]) -> None:
        super().__init__()
        first, second, third = widths
        self.out = 2 * third
        self.layers = nn.Sequential(  # convolutions at the full 64 x 64 would be four times as slow
            nn.PixelUnshuffle(2),
            _conv(12, first),
            _conv(first, second, 2),
            _Residual(second),
            _conv(second, third, 2),
            _Residual(third),
        )

    def forward(self, images: Tensor) -> Tensor:
        x = self.layers(2 * to_side(images) - 1)  # [B, C, 8, 8]
        return torch.cat([x.mean((2, 3)), x.amax((2, 3))], dim=1)


class _GalleryNetwork(nn.Module):
    """A trunk and one head per attribute, with a bottleneck between them if it has a width."""

    bottleneck_width: ClassVar[int] = 0

    def __init__(self, labels: Mapping[str, Sequence[str]], widths: Sequence[int] = _WIDTHS):
        super().__init__()
        self.labels: Labels = {head: tuple(names) for head, names in labels.items()}
        self.widths = tuple(widths)
        self.trunk = _Trunk(widths)
        if self.bottleneck_width:
            self.bottleneck = nn.Linear(self.trunk.out, self.bottleneck_width)
        width = self.bottleneck_width or self.trunk.out
        self.heads = nn.ModuleDict(
            {head: nn.Linear(width, len(names)) for head, names in self.labels.items()}
        )

    def logits(self, rows: Tensor) -> dict[str, Tensor]:
        """Rows ``[B, width]`` of trunk or bottleneck -> per head logits ``[B, labels]``."""
        return {head: linear(rows) for head, linear in self.heads.items()}


class GalleryJudge(_GalleryNetwork):
    """The classifier: one head per attribute, "none" where an image need not have it."""

    def forward(self, images: Tensor) -> dict[str, Tensor]:
        """Images ``[B, 3, H, W]`` in [0, 1], any size -> per head logits ``[B, labels]``."""
        return self.logits(self.trunk(images))


class GalleryFeatures(_GalleryNetwork):
    """The feature network; its features are the 64 numbers that all its training heads read."""

    bottleneck_width = 64

    def forward(self, images: Tensor) -> Tensor:
        """Images ``[B, 3, H, W]`` in [0, 1], any size -> features ``[B, 64]``."""
        return self.bottleneck(self.trunk(images))  # type: ignore[no-any-return]


def default_folder() -> Path:
    """The judges inside the package."""
    return packaged("scoring/weights")


def read_metadata(path: Path) -> dict[str, Any]:
    """The metadata of a network's file: labels, version, recipe, accuracy.

    Raises:
        FileNotFoundError: the weights are missing; so say all functions that load a network.
    """
    if not path.is_file():
        raise FileNotFoundError(
            f"the Gallery's judges are not in {path.parent} ({path.name} is missing); "
            "run `python -m tools.gallery.train`"
        )
    with safe_open(path, framework="pt") as file:
        return {key: json.loads(value) for key, value in (file.metadata() or {}).items()}


Network = TypeVar("Network", GalleryJudge, GalleryFeatures)


def _load(kind: type[Network], path: Path) -> Network:
    metadata = read_metadata(path)
    network = kind(metadata["labels"], metadata["widths"])
    with safe_open(path, framework="pt") as file:
        network.load_state_dict({key: file.get_tensor(key) for key in file.keys()})  # noqa: SIM118
    return network.eval().requires_grad_(False)


def load_judge(folder: Path | None = None) -> GalleryJudge:
    """The classifier, float32, in evaluation mode; None takes the shipped one."""
    return _load(GalleryJudge, (folder or default_folder()) / JUDGE_FILE)


def load_features(folder: Path | None = None) -> GalleryFeatures:
    """The feature network, float32, in evaluation mode; None takes the shipped one."""
    return _load(GalleryFeatures, (folder or default_folder()) / FEATURES_FILE)


def load_clip(folder: Path | None = None) -> ClipParts:
    """The tiny CLIP through open_clip, from files alone; None takes the shipped one.

    Its images have 64 pixels, its texts 32 tokens and its rows 64 numbers.
    """
    import open_clip

    path = (folder or default_folder()) / CLIP_FOLDER
    read_metadata(path / CLIP_FILE)
    name = f"local-dir:{path}"
    model, _, preprocess = open_clip.create_model_and_transforms(name)
    tokenizer = open_clip.get_tokenizer(name, local_files_only=True)
    return model.eval().requires_grad_(False), preprocess, tokenizer
