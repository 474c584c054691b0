"""Reading the judge: did it see the concept, and did it see what the prompt asks for?"""

from __future__ import annotations

from collections.abc import Mapping, Sequence

import numpy as np
from numpy.typing import NDArray

from varbench.data.concept import Concept
from varbench.metrics.base import ScoredImages

Labels = Mapping[str, tuple[str, ...]]
Flags = NDArray[np.bool_]


def label_index(labels: Labels, head: str, label: str) -> int:
    """Place of `label` in the judge's `head`.

    Raises:
        ValueError: the judge has no such head or label, so it could never see it.
    """
    if head not in labels:
        raise ValueError(f"the judge has no head {head!r}; choose one of: {', '.join(labels)}")
    if label not in labels[head]:
        known = ", ".join(labels[head])
        raise ValueError(f"the judge's head {head!r} has no label {label!r}; it knows: {known}")
    return labels[head].index(label)


def concept_hits(group: ScoredImages, concept: Concept, labels: Labels) -> Flags:
    """[n] whether the most likely label of the concept's head is the concept."""
    wanted = label_index(labels, concept.judge.head, concept.judge.label)
    return np.asarray(group.array("judge", concept.judge.head) == wanted)


def attributes_right(group: ScoredImages, labels: Labels, without: str = "") -> tuple[Flags, Flags]:
    """[n, H] whether a prompt asks for the head's attribute, and whether the judge sees it.

    The H heads are those of `labels` in their order; a head called `without`, or one for which
    the prompt's label is empty, absent or unknown to the judge, is not asked for.
    """
    asked = np.zeros((len(group), len(labels)), dtype=np.bool_)
    right = np.zeros_like(asked)
    for h, head in enumerate(labels):
        wanted = _wanted([p.labels.get(head, "") for p in group.prompts], labels, head)
        asked[:, h] = (wanted >= 0) & (head != without)
        if asked[:, h].any():
            right[:, h] = asked[:, h] & (group.array("judge", head) == wanted)
    return asked, right


def all_right(asked: Flags, right: Flags) -> Flags:
    """[n] whether everything asked for is seen; true where nothing is asked for."""
    return np.asarray((right | ~asked).all(axis=1), dtype=np.bool_)


def _wanted(names: Sequence[str], labels: Labels, head: str) -> NDArray[np.int64]:
    index = {name: i for i, name in enumerate(labels[head])}
    return np.array([index.get(name, -1) for name in names], dtype=np.int64)
