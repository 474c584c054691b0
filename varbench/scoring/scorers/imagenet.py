"""ImageNet classes by torchvision's ResNet-50 with the weights IMAGENET1K_V2; their judge.

He et al., Deep Residual Learning for Image Recognition, CVPR 2016; the recipe of the second
weights is torchvision's (top-1 80.9 % on ImageNet). Preprocessing is torchvision's own: the shorter
side to 232 (bilinear, antialiased), the middle 224 x 224, ImageNet's mean and deviation.

In the judge the likeliest of the 1000 classes decides, the protocol of ESD (Gandikota et al.,
ICCV 2023) on Imagenette. The labels are those of the
concept's prompt sets that are ImageNet classes, under torchvision's names for them; whatever other
class an image has is `something else`. So, unlike a judge that must choose one of the labels, this
one can predict that none of them is in the image, and the floor of its rates is 0.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from difflib import get_close_matches
from functools import cache
from pathlib import Path

import numpy as np
import torch
from torch import nn

from varbench.data.concept import Concept
from varbench.data.published.data_folder import network_path
from varbench.errors import UserError
from varbench.metrics.groups import Array, Arrays
from varbench.scoring.base import Scorer, settings_hash
from varbench.scoring.scorers.images import BatchScorer, network_fingerprint, reading
from varbench.utils.images import read_rgb

NETWORK = "resnet-50"


class ImagenetScorer(BatchScorer):
    """The five likeliest of ImageNet's 1000 classes; ignores the prompts.

    `top` int16 [n, 5], the likeliest classes in order, and `top_p` float32 [n, 5]. Classes are
    indices into torchvision's list; of equally likely ones the first comes first.
    """

    version = 1

    def _load(self) -> nn.Module:
        return load_resnet(network_path(NETWORK))

    def fingerprint(self) -> str:
        return network_fingerprint(NETWORK, self.version)

    def _score(self, files: Sequence[Path], prompts: Sequence[str]) -> dict[str, Array]:
        from torchvision.models import ResNet50_Weights

        preprocess = ResNet50_Weights.IMAGENET1K_V2.transforms()
        images = torch.stack([preprocess(read_rgb(file)) for file in files])
        logits = self._network(images.to(self._device))
        chances = logits.double().softmax(dim=-1).cpu().numpy()
        top = np.argsort(-chances, axis=1, kind="stable")[:, :5]
        return {
            "top": top.astype(np.int16),
            "top_p": np.take_along_axis(chances, top, axis=1).astype(np.float32),
        }


def load_resnet(path: Path) -> nn.Module:
    """ResNet-50 from a file of torchvision's, in evaluation mode; CheckpointError for another."""
    from torchvision.models import resnet50

    network: nn.Module = resnet50(weights=None)
    with reading(path, "torchvision's ResNet-50"):
        network.load_state_dict(torch.load(path, map_location="cpu", weights_only=True))
    return network.eval().requires_grad_(False)


ELSE = "something else"
SURE = 0.1
"""Probability of the likeliest class, a hundred times chance, below which it is none."""
CLASS_NAMES = {"hot-air balloon": "balloon", "trumpet": "cornet", "kite": ""}
"""Words of prompts whose class has another name, or none. ImageNet's balloons carry people, its
cornets include trumpets (synset n03110669: cornet, horn, trumpet, trump), its kite is a bird."""


class ImagenetJudge:
    """Predicts the label whose class is the likeliest of all 1000."""

    version = 1

    def __init__(self, concept: Concept, scorers: Mapping[str, Scorer]) -> None:
        self.head, label = concept.judge.head, concept.judge.label
        words = {word: class_of(word) for word in sorted({*concept.labels(self.head), label})}
        self._classes = {word: index for word, index in words.items() if index is not None}
        if label not in self._classes:
            near = get_close_matches(label, _by_name(), n=3)
            hint = f"; similar classes: {', '.join(near)}" if near else ""
            raise UserError(
                f"concept {concept.name!r}: judge {concept.judge.name!r} knows ImageNet's classes, "
                f"and {label!r} is none of them{hint}; use the judge clip-objects instead"
            )
        by_class = {index: word for word, index in self._classes.items()}
        if len(by_class) < len(self._classes):
            word = next(w for w, index in self._classes.items() if by_class[index] != w)
            raise UserError(
                f"labels {word!r} and {by_class[self._classes[word]]!r} of column {self.head!r} "
                "are one ImageNet class; give its prompts one label"
            )

    @property
    def labels(self) -> Mapping[str, tuple[str, ...]]:
        return {self.head: (*self._classes, ELSE)}

    def fingerprint(self) -> str:
        """Hash of the labels and their classes."""
        return settings_hash((self.head, self._classes))

    def predict(self, scores: Mapping[str, Arrays]) -> Arrays:
        """The probability is that of the likeliest class, whether or not it is a label.

        An image of which no class has `SURE` is unrecognised.
        """
        label_of = np.full(len(_categories()), len(self._classes), dtype=np.int64)
        label_of[list(self._classes.values())] = np.arange(len(self._classes))
        classes = scores["imagenet"]
        likeliest = classes["top_p"][:, 0]
        return {
            self.head: label_of[classes["top"][:, 0]],
            f"{self.head}_p": likeliest,
            "unrecognised": likeliest < SURE,
        }


def class_of(word: str) -> int | None:
    """Index of the ImageNet class that a word of a prompt means, None if there is none.

    Torchvision's names, in any case; where only the case differs (`cardigan` is clothing,
    `Cardigan` a dog) it decides.
    """
    name = CLASS_NAMES.get(word, word)
    if name in _categories():
        return _categories().index(name)
    return _by_name().get(name.casefold())


@cache
def _categories() -> tuple[str, ...]:
    from torchvision.models import ResNet50_Weights

    return tuple(ResNet50_Weights.IMAGENET1K_V2.meta["categories"])


@cache
def _by_name() -> Mapping[str, int]:
    """Classes by their lower-case names, without names of several classes."""
    names = [name.casefold() for name in _categories()]
    return {name: i for i, name in enumerate(names) if names.count(name) == 1}
