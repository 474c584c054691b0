"""Embeddings of faces, for the judge that recognises people by reference images.

The default embedder is dlib (extra `faces`): its detector of frontal faces, five landmarks, and the
ResNet that gives 128 numbers for an aligned face (King 2017). dlib is called directly: the usual
wrapper imports `pkg_resources`, which current environments lack.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from functools import cached_property
from importlib.util import find_spec
from pathlib import Path
from typing import Any, Protocol

import numpy as np
from numpy.typing import NDArray

from varbench.data.published.networks import network_checksum, network_path
from varbench.errors import UserError
from varbench.metrics.groups import Array
from varbench.scoring.scorers.images import check_input, read_rgb

NETWORK, LANDMARKS = "faces-dlib", "faces-dlib-landmarks"


class FaceEmbedder(Protocol):
    """Embeds the largest face of an image; embeddings of one person lie near each other."""

    @property
    def size(self) -> int:
        """Length of an embedding."""
        ...

    def fingerprint(self) -> str:
        """Hash of weights and settings."""
        ...

    def __call__(self, image: NDArray[np.uint8]) -> NDArray[np.float32] | None:
        """The embedding `[size]` of the largest face in `[H, W, 3]` (RGB); None without a face."""
        ...


class FaceScorer:
    """One face per image, the largest; ignores the prompts.

    Args:
        load: returns a :class:`FaceEmbedder`; default dlib's. Called when first needed.
        device: not used, dlib's wheel runs on the CPU.
    """

    id = "faces"
    version = 1

    def __init__(
        self, load: Callable[[], FaceEmbedder] | None = None, *, device: str = "cpu"
    ) -> None:
        self._load = load or DlibFaces

    @cached_property
    def _embedder(self) -> FaceEmbedder:
        return self._load()

    def fingerprint(self) -> str:
        return f"{self.version}-{self._embedder.fingerprint()}"

    def score(self, files: Sequence[Path], prompts: Sequence[str]) -> dict[str, Array]:
        """`face` bool [n]; `descriptor` float32 [n, size], zero where there is no face."""
        check_input(files, prompts)
        descriptors = np.zeros((len(files), self._embedder.size), dtype=np.float32)
        face = np.zeros(len(files), dtype=np.bool_)
        for i, file in enumerate(files):
            row = self._embedder(np.asarray(read_rgb(file), dtype=np.uint8))
            if row is not None:
                face[i], descriptors[i] = True, row
        return {"face": face, "descriptor": descriptors}


class DlibFaces:
    """dlib's detector and ResNet, without enlarging images before the search.

    Raises:
        UserError: the extra `faces` is not installed.
    """

    size = 128

    def __init__(self) -> None:
        if find_spec("dlib") is None:
            raise UserError(
                "judge 'faces' needs dlib: pip install '.[faces]' in a checkout (builds dlib "
                "for some minutes, with cmake and a C++ compiler), or use the judge clip-names "
                "instead"
            )

    def fingerprint(self) -> str:
        return f"{network_checksum(NETWORK)[:32]}{network_checksum(LANDMARKS)[:32]}"

    @cached_property
    def _parts(self) -> tuple[Any, Any, Any]:
        import dlib

        return (
            dlib.get_frontal_face_detector(),
            dlib.shape_predictor(str(network_path(LANDMARKS))),
            dlib.face_recognition_model_v1(str(network_path(NETWORK))),
        )

    def __call__(self, image: NDArray[np.uint8]) -> NDArray[np.float32] | None:
        detector, landmarks, network = self._parts
        boxes = detector(image, 0)
        if not boxes:
            return None
        largest = max(boxes, key=lambda box: box.area())
        described = network.compute_face_descriptor(image, landmarks(image, largest))
        return np.asarray(described, dtype=np.float32)
