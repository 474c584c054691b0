"""Features of images of any model: Inception v3 (role `features`) and DINOv2 (role `dino`).

Both read and resize images by clean-fid's own code (`features.py` says why).

* Inception v3 is the network that FID was defined with (Heusel et al., NeurIPS 2017), in the
  TorchScript file and behind the wrapper of clean-fid: 299 x 299, (x - 128) / 128, the 2,048
  numbers of the last pooling. FID and KID on them compare with those of other users of clean-fid's
  mode "clean" at equal n and equal image size.
* DINOv2 ViT-B/14 (Oquab et al., TMLR 2024) knows faces, styles and textures that Inception, trained
  to tell ImageNet's classes, does not see (Stein et al., NeurIPS 2023): 224 x 224, ImageNet's mean
  and deviation, the 768 numbers of the class token after the last norm. The network is timm's with
  the authors' file; its positions, learnt at 518 pixels, are resized by timm.
"""

from __future__ import annotations

import warnings
from pathlib import Path
from typing import Any, ClassVar

import torch
from torch import Tensor, nn

from varbench.data.published.networks import network_path
from varbench.scoring.scorers.features import FeatureScorer
from varbench.scoring.scorers.images import network_fingerprint, reading

DINO = "vit_base_patch14_dinov2"
DINO_SIDE = 224
_MEAN, _DEVIATION = (0.485, 0.456, 0.406), (0.229, 0.224, 0.225)


class StandardFeatures(FeatureScorer):
    """Feature rows of a network from a published file, known by name."""

    network: ClassVar[str]

    def fingerprint(self) -> str:
        """Hash of the network's file and of the preprocessing.

        Raises:
            MissingNetworkError: the file is not on this machine.
        """
        return network_fingerprint(self.network, self.version, "clean", self.side)


class Normalised(nn.Module):
    """A network behind ImageNet's mean and deviation; images `[B, 3, H, W]` in 0..255."""

    mean: Tensor
    deviation: Tensor

    def __init__(self, network: nn.Module) -> None:
        super().__init__()
        self.network = network
        self.register_buffer("mean", 255 * torch.tensor(_MEAN).view(3, 1, 1))
        self.register_buffer("deviation", 255 * torch.tensor(_DEVIATION).view(3, 1, 1))

    def forward(self, images: Tensor) -> Tensor:
        """Features `[B, d]`."""
        rows: Tensor = self.network((images - self.mean) / self.deviation)
        return rows


def load_inception(path: Path) -> nn.Module:
    """clean-fid's wrapper of its TorchScript file, from `[B, 3, 299, 299]` in 0..255 to 2,048.

    Raises:
        CheckpointError: the file is damaged or holds something else.
    """
    from cleanfid.inception_torchscript import InceptionV3W

    with reading(path, "clean-fid's Inception v3"), warnings.catch_warnings():
        # The format is deprecated, the file is not ours.
        warnings.filterwarnings("ignore", "`torch.jit.load`", FutureWarning)
        # The wrapper looks for the file by name, in a folder, and would download it.
        network: nn.Module = InceptionV3W(str(path.parent), download=False)
    return network.eval().requires_grad_(False)


def load_dino(path: Path) -> nn.Module:
    """DINOv2 from its authors' file, from `[B, 3, 224, 224]` in 0..255 to the class token.

    Raises:
        CheckpointError: the file is damaged or of another architecture.
    """
    import timm

    source: dict[str, Any] = {"file": str(path), "num_classes": 0}
    with reading(path, DINO):  # as pretrained, so that timm translates the file's names
        network = timm.create_model(
            DINO, pretrained=True, pretrained_cfg_overlay=source, img_size=DINO_SIDE
        )
    return Normalised(network).eval().requires_grad_(False)


class InceptionScorer(StandardFeatures):
    """Inception v3's 2,048 numbers, as clean-fid computes them."""

    network = "inception-v3"

    def _load(self) -> nn.Module:
        return load_inception(network_path(self.network))


class DinoScorer(StandardFeatures):
    """DINOv2's class token, 768 numbers."""

    network = "dinov2-vit-b-14"
    side = DINO_SIDE

    def _load(self) -> nn.Module:
        return load_dino(network_path(self.network))
