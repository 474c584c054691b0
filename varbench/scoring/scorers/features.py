"""Image features for FID, KID and diversity, through clean-fid's own resizing.

clean-fid (Parmar et al., CVPR 2022) showed that resizing decides FID values, so images take its
path: PNG -> RGB -> Pillow bicubic, per channel and in floating point -> the network's size, 0 to
255. Only the network is ours, passed in like its `custom_feat_extractor`: the Gallery's own, and
for images of any other model

* Inception v3 (role `features`), the network that FID was defined with (Heusel et al., NeurIPS
  2017), in the TorchScript file and behind the wrapper of clean-fid: 299 x 299, (x - 128) / 128,
  the 2,048 numbers of the last pooling. FID and KID on them compare with those of other users of
  clean-fid's mode "clean" at equal n and equal image size;
* DINOv2 ViT-B/14 (role `dino`; Oquab et al., TMLR 2024), which knows faces, styles and textures
  that Inception, trained to tell ImageNet's classes, does not see (Stein et al., NeurIPS 2023):
  224 x 224, ImageNet's mean and deviation, the 768 numbers of the class token after the last norm.
  The network is timm's with the authors' file; its positions, learnt at 518 pixels, are resized by
  timm.
"""

from __future__ import annotations

import warnings
from collections.abc import Sequence
from pathlib import Path
from typing import Any, ClassVar

import numpy as np
import torch
from torch import Tensor, nn

from varbench.data.published.data_folder import network_path
from varbench.metrics.groups import Array
from varbench.scoring.gallery_networks import SIDE, load_features
from varbench.scoring.scorers.images import (
    BatchScorer,
    fingerprint,
    float_rows,
    network_fingerprint,
    reading,
)
from varbench.utils.images import read_rgb

DINO = "vit_base_patch14_dinov2"


class Extractor(nn.Module):
    """A network for small images in [0, 1] as clean-fid calls one: `[B, 3, 299, 299]` in 0..255.

    Images are brought back to the network's size by bicubic antialiased resizing, so that it sees
    them nearly as they were.
    """

    def __init__(self, network: nn.Module) -> None:
        super().__init__()
        self.network = network

    def forward(self, images: Tensor) -> Tensor:
        """Features `[B, d]`."""
        small = nn.functional.interpolate(
            images.float() / 255, (SIDE, SIDE), mode="bicubic", antialias=True
        )
        features: Tensor = self.network(small.clamp(0, 1))
        return features


class FeatureScorer(BatchScorer):
    """Rows `features` float32 [n, d] by the Gallery's network, d = 64; ignores the prompts."""

    version = 1
    side: ClassVar[int] = 299  # pixels that the network is fed

    def _load(self) -> nn.Module:
        return Extractor(load_features())

    def fingerprint(self) -> str:
        """Hash of weights and image size."""
        return fingerprint(self._network, self.version, "clean", SIDE)

    def _score(self, files: Sequence[Path], prompts: Sequence[str]) -> dict[str, Array]:
        from cleanfid.resize import make_resizer

        resized = make_resizer("PIL", False, "bicubic", (self.side, self.side))  # [H, W, 3], 0..255
        images = [torch.from_numpy(resized(np.array(read_rgb(file)))) for file in files]
        batch = torch.stack([image.permute(2, 0, 1) for image in images]).contiguous()
        return {"features": float_rows(self._network(batch.to(self._device)))}


class StandardFeatures(FeatureScorer):
    """Feature rows of a network from a published file, known by name."""

    network: ClassVar[str]

    def fingerprint(self) -> str:
        return network_fingerprint(self.network, self.version, "clean", self.side)


def load_inception(path: Path) -> nn.Module:
    """clean-fid's wrapper of its TorchScript file, from `[B, 3, 299, 299]` in 0..255 to 2,048.

    Any other file is a CheckpointError.
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

    Any other file is a CheckpointError.
    """
    import timm
    from timm.data import IMAGENET_DEFAULT_MEAN, IMAGENET_DEFAULT_STD
    from torchvision.transforms import Normalize

    source: dict[str, Any] = {"file": str(path), "num_classes": 0}
    with reading(path, DINO):  # as pretrained, so that timm translates the file's names
        network = timm.create_model(
            DINO, pretrained=True, pretrained_cfg_overlay=source, img_size=DinoScorer.side
        )
    of_pixels = (255 * torch.tensor((IMAGENET_DEFAULT_MEAN, IMAGENET_DEFAULT_STD))).tolist()
    return nn.Sequential(Normalize(*of_pixels), network).eval().requires_grad_(False)


class InceptionScorer(StandardFeatures):
    """Inception v3's 2,048 numbers, as clean-fid computes them."""

    network = "inception-v3"

    def _load(self) -> nn.Module:
        return load_inception(network_path(self.network))


class DinoScorer(StandardFeatures):
    """DINOv2's class token, 768 numbers."""

    network = "dinov2-vit-b-14"
    side = 224

    def _load(self) -> nn.Module:
        return load_dino(network_path(self.network))
