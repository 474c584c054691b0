"""Objects by ImageNet class: ResNet-50's likeliest of 1000 classes decides.

The protocol of ESD (Gandikota et al., ICCV 2023) on Imagenette. The labels are those of the
concept's prompt sets that are ImageNet classes, under torchvision's names for them; whatever other
class an image has is `something else`. So, unlike a judge that must choose one of the labels, this
one can predict that none of them is in the image, and the floor of its rates is 0.
"""

from __future__ import annotations

from collections.abc import Mapping
from difflib import get_close_matches
from functools import cache

import numpy as np

from varbench.data.concept import Concept
from varbench.errors import UserError
from varbench.metrics.groups import Arrays
from varbench.scoring.base import Scorer, settings_hash

ELSE = "something else"
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
        """The probability is that of the likeliest class, whether or not it is a label."""
        label_of = np.full(len(_categories()), len(self._classes), dtype=np.int64)
        label_of[list(self._classes.values())] = np.arange(len(self._classes))
        classes = scores["imagenet"]
        return {self.head: label_of[classes["top"][:, 0]], f"{self.head}_p": classes["top_p"][:, 0]}


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
