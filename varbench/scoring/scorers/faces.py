"""Embeddings of faces, and the judge that recognises people by reference images.

dlib (extra `faces`): its detector of frontal faces, five landmarks, and the ResNet that gives 128
numbers for an aligned face (King 2017). dlib is called directly: the usual wrapper imports
`pkg_resources`, which current environments lack.

In the judge a face gets the name of the nearest reference, if it is near enough. The references are
made from the base model's own images, because no photographs are shipped and a model need not draw
a person as photographs show them: a name's reference is the mean embedding of the images whose
prompts ask for it. A face belongs to the nearest reference if its distance is at most a threshold,
at which as many pairs of one name are rejected as pairs of two names are accepted (equal error
rate). For a pair of one name the image is left out of its own mean, or the threshold would be that
of training images.

So the judge decides whether the edited model still draws the face that the base model drew under
that name, not whether that was ever the person's face. Rates of the base model are somewhat too
good, because its images are in the means.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from copy import copy
from dataclasses import dataclass
from functools import cached_property
from importlib.util import find_spec
from pathlib import Path
from typing import Any, ClassVar

import numpy as np
from numpy.typing import NDArray

from varbench.data.published.data_folder import network_checksum, network_path
from varbench.errors import UserError
from varbench.metrics.groups import Array, Arrays, Flags, Floats, Key, ScoredImages
from varbench.scoring.judges import NameJudge
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


MIN_IMAGES = 2  # with a face, per name: one is left out, and a mean must remain


def equal_error_threshold(same: Floats, different: Floats) -> float:
    """The threshold at which both kinds of error are nearest to equal.

    Candidates lie halfway between neighbouring distances; of equally good ones the one with fewer
    errors is taken, then the smallest.

    Args:
        same: distances of pairs of one person, [g]; an error if above the threshold.
        different: distances of pairs of two people, [i]; an error if not above it.

    Raises:
        ValueError: no distances of one kind.
    """
    if not same.size or not different.size:
        raise ValueError("an equal error rate needs distances of both kinds")
    values = np.unique(np.concatenate([same, different]))
    thresholds = (values[1:] + values[:-1]) / 2 if values.size > 1 else values
    rejected = 1 - np.searchsorted(np.sort(same), thresholds, side="right") / same.size
    accepted = np.searchsorted(np.sort(different), thresholds, side="right") / different.size
    gap, errors = np.abs(rejected - accepted), rejected + accepted
    best = np.lexsort((thresholds, errors.round(12), gap.round(12)))[0]  # not by their last digits
    return float(thresholds[best])


@dataclass(frozen=True)
class References:
    """Mean embeddings of named faces, with the threshold on distances to them.

    Attributes:
        index: [r] place of each name among the judge's labels.
        means: [r, d] mean embedding.
        same: [g], sorted: distance of each image to its name's mean without it.
        threshold: largest distance of a face that gets the name.
    """

    index: NDArray[np.int64]
    means: Floats
    same: Floats
    threshold: float


def make_references(rows: Floats, index: NDArray[np.int64]) -> References:
    """References from embeddings.

    Args:
        rows: [n, d], one per image with a face.
        index: [n] the name that each image was prompted for; names with one image are left out.

    Raises:
        UserError: fewer than two names have two images with a face.
    """
    names, counts = np.unique(index, return_counts=True)
    names = names[counts >= MIN_IMAGES]
    if names.size < 2:
        raise UserError(
            "judge 'faces' makes references from the base model's images, but fewer than two "
            f"names have {MIN_IMAGES} images with a face; give the suite more prompts or image "
            "seeds of target and neighbours, or use the judge clip-names instead"
        )
    means = np.stack([rows[index == name].mean(axis=0) for name in names])
    same, different = [], []
    for name, mean in zip(names, means, strict=True):
        own, others = rows[index == name], rows[np.isin(index, names) & (index != name)]
        rest = (mean * len(own) - own) / (len(own) - 1)
        same.append(np.linalg.norm(own - rest, axis=1))
        different.append(np.linalg.norm(others - mean, axis=1))
    pairs = np.sort(np.concatenate(same))
    return References(names, means, pairs, equal_error_threshold(pairs, np.concatenate(different)))


class FacesJudge(NameJudge):
    """Names faces by references, which follow from the images; :meth:`with_references` makes them.

    A name's probability is the share of true pairs that lie farther apart than this one, that of
    `another face` one minus that share.
    """

    references: References | None = None

    def with_references(self, base: Mapping[str, ScoredImages]) -> FacesJudge:
        """This judge with references from the base model's images whose prompts ask for a name.

        Raises:
            UserError: fewer than two names have two images with a face.
        """
        index = {name: i for i, name in enumerate(self.names)}
        rows: dict[Key, tuple[int, Floats]] = {}  # a prompt may be in two groups
        for group in base.values():
            face, described = group.array("faces", "face"), group.array("faces", "descriptor")
            for i, (prompt, seed) in enumerate(zip(group.prompts, group.seeds, strict=True)):
                name = prompt.labels.get(self.head, "")
                if face[i] and name in index:
                    rows[prompt.id, seed] = (index[name], np.asarray(described[i], np.float64))
        ordered = [rows[key] for key in sorted(rows)]
        width = len(ordered[0][1]) if ordered else 0
        described = np.array([row for _, row in ordered], np.float64).reshape(len(ordered), width)
        names = np.array([i for i, _ in ordered], np.int64)
        judge = copy(self)
        judge.references = make_references(described, names)
        return judge

    def _named(self, scores: Mapping[str, Arrays]) -> tuple[Flags, Array, Array]:
        if self.references is None:
            raise ValueError("judge 'faces' has no references yet; call with_references() first")
        face = np.asarray(scores["faces"]["face"], dtype=np.bool_)
        rows = np.asarray(scores["faces"]["descriptor"], dtype=np.float64)
        known = self.references
        distances = np.stack([np.linalg.norm(rows - mean, axis=1) for mean in known.means], axis=1)
        nearest, least = distances.argmin(axis=1), distances.min(axis=1)
        near = least <= known.threshold
        farther = 1 - np.searchsorted(known.same, least, side="left") / known.same.size
        named = np.where(near, known.index[nearest], len(self.names))
        return face, named, np.where(near, farther, 1 - farther)
