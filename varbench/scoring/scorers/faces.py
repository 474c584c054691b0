"""Embeddings of faces, for the judge that recognises people by reference images.

dlib (extra `faces`): its detector of frontal faces, five landmarks, and the ResNet that gives 128
numbers for an aligned face (King 2017). dlib is called directly: the usual wrapper imports
`pkg_resources`, which current environments lack.
"""

from __future__ import annotations

from collections.abc import Sequence
from functools import cached_property
from importlib.util import find_spec
from pathlib import Path
from typing import Any, ClassVar

import numpy as np
from numpy.typing import NDArray

from varbench.data.published.networks import network_checksum, network_path
from varbench.errors import UserError
from varbench.metrics.groups import Array
from varbench.scoring.scorers.images import check_input
from varbench.utils.images import read_rgb

NETWORK, LANDMARKS = "faces-dlib", "faces-dlib-landmarks"


class FaceScorer:
    """One face per image, the largest; images are not enlarged before the search."""

    version = 1
    size: ClassVar[int] = 128  # length of an embedding

    def __init__(self, *, device: str = "cpu") -> None:
        pass

    @cached_property
    def _parts(self) -> tuple[Any, Any, Any]:
        _require_dlib()
        import dlib

        return (
            dlib.get_frontal_face_detector(),
            dlib.shape_predictor(str(network_path(LANDMARKS))),
            dlib.face_recognition_model_v1(str(network_path(NETWORK))),
        )

    def fingerprint(self) -> str:
        """Of both network files; a UserError if the extra `faces` is not installed."""
        _require_dlib()
        return f"{self.version}-{network_checksum(NETWORK)[:32]}{network_checksum(LANDMARKS)[:32]}"

    def score(self, files: Sequence[Path], prompts: Sequence[str]) -> dict[str, Array]:
        """`face` bool [n]; `descriptor` float32 [n, size], zero where there is no face."""
        check_input(files, prompts)
        descriptors = np.zeros((len(files), self.size), dtype=np.float32)
        face = np.zeros(len(files), dtype=np.bool_)
        for i, file in enumerate(files):
            row = self.embedding(np.asarray(read_rgb(file), dtype=np.uint8))
            if row is not None:
                face[i], descriptors[i] = True, row
        return {"face": face, "descriptor": descriptors}

    def embedding(self, image: NDArray[np.uint8]) -> NDArray[np.float32] | None:
        """The embedding `[size]` of the largest face in `[H, W, 3]` (RGB); None without a face.

        Embeddings of one person lie near each other.
        """
        detector, landmarks, network = self._parts
        boxes = detector(image, 0)
        if not boxes:
            return None
        largest = max(boxes, key=lambda box: box.area())
        described = network.compute_face_descriptor(image, landmarks(image, largest))
        return np.asarray(described, dtype=np.float32)


def _require_dlib() -> None:
    if find_spec("dlib") is None:
        raise UserError(
            "judge 'faces' needs dlib: pip install '.[faces]' in a checkout (builds dlib "
            "for some minutes, with cmake and a C++ compiler), or use the judge clip-names "
            "instead"
        )
