"""The Gallery's classifier: the scorer that runs it, and the judge that returns what it stored."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from pathlib import Path

import numpy as np
import torch

from varbench.data.concept import Concept
from varbench.metrics.groups import Array, Arrays
from varbench.scoring.base import Scorer
from varbench.scoring.gallery_networks import GalleryJudge, load_judge, to_side
from varbench.scoring.scorers.images import BatchScorer, fingerprint, read_tensor

SURE = 0.8
"""Mean probability over the heads below which the classifier knows nothing in an image."""


class JudgeScorer(BatchScorer):
    """The Gallery's classifier with its heads; ignores the prompts.

    Per head h: `h` int64 [n], the most likely label, and `h_p` float32 [n], its probability. Of
    equally likely labels the first is taken.
    """

    version = 1

    def _load(self) -> GalleryJudge:
        return load_judge()

    @property
    def labels(self) -> Mapping[str, tuple[str, ...]]:
        """Label names of each head; the stored `h` arrays are indices into them."""
        labels: Mapping[str, tuple[str, ...]] = self._network.labels
        return labels

    def fingerprint(self) -> str:
        """Hash of weights and labels."""
        return fingerprint(self._network, self.version, sorted(self.labels.items()))

    def _score(self, files: Sequence[Path], prompts: Sequence[str]) -> dict[str, Array]:
        # Each by itself: a block of large images would not fit into memory.
        images = torch.cat([to_side(read_tensor(file)) for file in files])
        arrays: dict[str, Array] = {}
        for head, logits in self._network(images.to(self._device)).items():
            p = logits.double().softmax(dim=-1).cpu().numpy()
            arrays[head] = p.argmax(axis=-1).astype(np.int64)  # numpy's takes the first of equals
            arrays[f"{head}_p"] = p.max(axis=-1).astype(np.float32)
        return arrays


class ClassifierJudge:
    """Returns the labels that the scorer `judge` stored; the classifier's heads are fixed."""

    version = 1

    def __init__(self, concept: Concept, scorers: Mapping[str, Scorer]) -> None:
        classifier = scorers["judge"]
        assert isinstance(classifier, JudgeScorer)
        self._classifier = classifier

    @property
    def labels(self) -> Mapping[str, tuple[str, ...]]:
        return self._classifier.labels

    def fingerprint(self) -> str:
        return self._classifier.fingerprint()

    def predict(self, scores: Mapping[str, Arrays]) -> Arrays:
        """Labels as stored; an image is unrecognised where the heads are unsure on average.

        No head can refuse, but softmax is less sure of what it was not trained on (Hendrycks and
        Gimpel 2017, ICLR); docs/metrics.md has the shares of images and of noise below `SURE`.
        """
        stored = scores["judge"]
        chances = [np.asarray(stored[f"{head}_p"], np.float64) for head in self.labels]
        return {**stored, "unrecognised": np.mean(chances, axis=0) < SURE}
