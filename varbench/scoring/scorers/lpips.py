"""LPIPS with AlexNet: perceptual distance of two images from deep features.

Zhang et al., The Unreasonable Effectiveness of Deep Features as a Perceptual Metric, CVPR 2018;
version 0.1 of its authors' package `lpips`. The linear heads come with the package; the trunk is
torchvision's AlexNet, from a published file that is known by name (by itself, the package would
download it).

Images are brought to squares of 256 pixels (bicubic, antialiased) and to -1..1. LPIPS depends on
the size: the evaluation of ESD takes 64 pixels, so its values do not compare with these.
"""

from __future__ import annotations

import warnings
from collections.abc import Sequence
from importlib.util import find_spec
from pathlib import Path

import torch
from torch import Tensor, nn

from varbench.data.published.data_folder import network_path
from varbench.metrics.groups import Array, row_blocks
from varbench.scoring.scorers.images import (
    LazyNetwork,
    float_rows,
    network_fingerprint,
    read_tensor,
    reading,
)
from varbench.store.hashing import cached_file_sha256

TRUNK = "lpips-alexnet"
SIDE = 256


class LpipsComparer(LazyNetwork):
    """LPIPS (AlexNet, version 0.1) of two images; 0 for equal ones, rarely above 1."""

    version = 1
    BATCH = 32

    def _load(self) -> nn.Module:
        return load_lpips(network_path(TRUNK))

    def fingerprint(self) -> str:
        return network_fingerprint(TRUNK, cached_file_sha256(_heads()), SIDE)

    @torch.inference_mode()
    def compare(self, first: Sequence[Path], second: Sequence[Path]) -> Array:
        """Distances float32 [n], n >= 1; an image that occurs repeatedly in a batch is read once.

        Raises:
            ValueError: no images, or not equally many.
        """
        if not first or len(first) != len(second):
            raise ValueError(f"{len(first)} images against {len(second)}; need pairs")
        distances = []
        for rows in row_blocks(len(first), self._batch):
            left, right = first[rows], second[rows]
            images = {file: read_square(file) for file in dict.fromkeys([*left, *right])}
            sides = (torch.stack([images[f] for f in files]) for files in (left, right))
            distances.append(self._network(*(side.to(self._device) for side in sides)).flatten())
        return float_rows(torch.cat(distances))


def read_square(file: Path) -> Tensor:
    """An image as LPIPS reads it: ``[3, 256, 256]`` in -1..1."""
    x = read_tensor(file)
    if x.shape[-2:] != (SIDE, SIDE):
        x = nn.functional.interpolate(x, (SIDE, SIDE), mode="bicubic", antialias=True)
    return 2 * x[0].clamp(0, 1) - 1


def load_lpips(alexnet: Path) -> nn.Module:
    """The package's LPIPS with the trunk from a file of torchvision's AlexNet.

    Raises:
        CheckpointError: the file is damaged or of another network.
    """
    import lpips  # takes seconds, which a run that finds everything done need not spend

    with warnings.catch_warnings():
        # It asks torchvision for an untrained network in a way that torchvision no longer likes.
        warnings.simplefilter("ignore", UserWarning)
        network = lpips.LPIPS(net="alex", pnet_rand=True, verbose=False)
    # Its "slice2.3.weight" is torchvision's "features.3.weight".
    trunk: nn.Module = network.net
    names = {key: f"features.{key.partition('.')[2]}" for key in trunk.state_dict()}
    with reading(alexnet, "torchvision's AlexNet"):
        state = torch.load(alexnet, map_location="cpu", weights_only=True)
        trunk.load_state_dict({key: state[name] for key, name in names.items()})
    lpips_network: nn.Module = network.eval().requires_grad_(False)
    return lpips_network


def _heads() -> Path:
    spec = find_spec("lpips")
    assert spec is not None and spec.origin is not None  # varbench depends on it
    return Path(spec.origin).parent / "weights" / "v0.1" / "alex.pth"
