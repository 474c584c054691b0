"""Image features for FID, KID and diversity, through clean-fid's own reading and resizing.

clean-fid (Parmar et al., CVPR 2022) showed that resizing decides FID values, so images take its
path: PNG -> RGB -> Pillow bicubic, per channel and in floating point -> 299 x 299, 0 to 255. Only
the network is ours, passed in like its `custom_feat_extractor`.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from functools import cached_property
from pathlib import Path
from typing import Any

import numpy as np
import torch
from torch import Tensor, nn

from varbench.metrics.groups import Array
from varbench.scoring.scorers.images import BATCH, check_input, fingerprint


class Extractor(nn.Module):
    """A network for images in [0, 1] as clean-fid calls one: `[B, 3, 299, 299]` in 0..255.

    Images are brought to squares of `side` pixels by bicubic antialiased resizing, so that a
    network for small images sees them nearly as they were; None leaves clean-fid's 299.
    """

    def __init__(self, network: nn.Module, side: int | None) -> None:
        super().__init__()
        self.network, self.side = network, side

    def forward(self, images: Tensor) -> Tensor:
        """Features `[B, d]`."""
        x = images.float() / 255
        if self.side is not None and x.shape[-2:] != (self.side, self.side):
            size = (self.side, self.side)
            x = nn.functional.interpolate(x, size, mode="bicubic", antialias=True).clamp(0, 1)
        features: Tensor = self.network(x)
        return features


class FeatureScorer:
    """Feature rows of images; ignores the prompts.

    Args:
        load: returns a module from images `[B, 3, H, W]` in [0, 1] to features `[B, d]`; default
            the Gallery's, d = 64. Called when first needed.
        side: input size of the network in pixels; None for clean-fid's 299.
        device: where the network runs.
        batch: images at a time; changes nothing but speed and the last digits.
    """

    id = "features"
    version = 1

    def __init__(
        self,
        load: Callable[[], Any] | None = None,
        *,
        side: int | None = 64,
        device: str = "cpu",
        batch: int = BATCH,
    ) -> None:
        self._load, self._side = load or _gallery, side
        self._device, self._batch = torch.device(device), batch

    @cached_property
    def _extractor(self) -> Extractor:
        return Extractor(self._load(), self._side).to(self._device).eval()

    def fingerprint(self) -> str:
        """Hash of weights and image size."""
        return fingerprint(self._extractor, self.version, "clean", self._side)

    def score(self, files: Sequence[Path], prompts: Sequence[str]) -> dict[str, Array]:
        """`features` float32 [n, d]."""
        check_input(files, prompts)
        return {"features": clean_rows(files, self._extractor, self._device, self._batch)}


def clean_rows(
    files: Sequence[Path],
    network: nn.Module,
    device: torch.device,
    batch: int,
    side: int = 299,
) -> Array:
    """Rows float32 [n, d] of a network for `[B, 3, side, side]` in 0..255, by clean-fid's path."""
    from cleanfid import fid, resize

    rows = fid.get_files_features(
        [str(file) for file in files],
        model=network,
        num_workers=0,  # workers cost more than they save
        batch_size=batch,
        device=device,  # its default is a GPU
        mode="clean",
        custom_fn_resize=resize.make_resizer("PIL", False, "bicubic", (side, side)),
        verbose=False,
    )
    return np.asarray(rows, dtype=np.float32)


def _gallery() -> Any:
    from varbench.scoring.gallery_networks import load_features

    return load_features()
