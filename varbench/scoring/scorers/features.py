"""Image features for FID, KID and diversity, through clean-fid's own reading and resizing.

clean-fid (Parmar et al., CVPR 2022) showed that resizing decides FID values, so images take its
path: PNG -> RGB -> Pillow bicubic, per channel and in floating point -> the network's size, 0 to
255. Only the network is ours, passed in like its `custom_feat_extractor`.
"""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path
from typing import ClassVar

import numpy as np
from torch import Tensor, nn

from varbench.metrics.groups import Array
from varbench.scoring.gallery_networks import SIDE, load_features
from varbench.scoring.scorers.images import LazyNetwork, check_input, fingerprint


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


class FeatureScorer(LazyNetwork):
    """Feature rows of images by the Gallery's network, d = 64; ignores the prompts."""

    version = 1
    side: ClassVar[int] = 299  # pixels that the network is fed

    def _load(self) -> nn.Module:
        return Extractor(load_features())

    def fingerprint(self) -> str:
        """Hash of weights and image size."""
        return fingerprint(self._network, self.version, "clean", SIDE)

    def score(self, files: Sequence[Path], prompts: Sequence[str]) -> dict[str, Array]:
        """`features` float32 [n, d]."""
        from cleanfid import fid, resize

        check_input(files, prompts)
        rows = fid.get_files_features(
            [str(file) for file in files],
            model=self._network,
            num_workers=0,  # workers cost more than they save
            batch_size=self._batch,
            device=self._device,  # its default is a GPU
            mode="clean",
            custom_fn_resize=resize.make_resizer("PIL", False, "bicubic", (self.side, self.side)),
            verbose=False,
        )
        return {"features": np.asarray(rows, dtype=np.float32)}
