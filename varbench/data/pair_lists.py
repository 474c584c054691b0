"""Training pairs listed by a prompt set, instead of made by a recipe (`training_pairs.py`).

Papers train on lists: S-VARE on those of ECGVF. A concept names such a set, whose label `neutral`
is each prompt's twin without the concept::

    pairs:
      list: {set: people-pairs}                # as in `prompts`: with where, where_not, limit
      count: 50
      seed: 1
      retain: [{set: celebrities}]             # prompts of what must stay

Which pairs are taken, if the list has more than `count`, is decided by a hash, as is the order. No
evaluation prompt of the concept is taken for training, and none that says the concept is retained.
"""

from __future__ import annotations

import hashlib
from collections.abc import Callable, Collection, Sequence
from dataclasses import dataclass
from typing import Annotated, TypeVar

from varbench.data.prompt import Prompt
from varbench.data.selection import Selection, choose, load_selected
from varbench.data.training_pairs import MOST_PAIRS, Pair
from varbench.data.yaml_files import AT_LEAST_ONE, Document, strict, whole
from varbench.utils.text import mentions, normalise

NEUTRAL = "neutral"

T = TypeVar("T")


@dataclass(frozen=True)
class PairList:
    """Pairs and retained prompts to choose from.

    Attributes:
        count: how many of each are taken.
        seed: decides which, and in which order.
        listed: the pairs.
        retain: the prompts.
    """

    count: int
    seed: int
    listed: tuple[Pair, ...]
    retain: tuple[str, ...]

    def pairs(self, excluded: Collection[str]) -> list[Pair]:
        """`count` pairs, or fewer if there are no more.

        Args:
            excluded: normalised texts that no side may be (the evaluation prompts).
        """
        free = [
            pair
            for pair in self.listed
            if not {normalise(pair.concept), normalise(pair.neutral)} & set(excluded)
        ]
        return self._take(free, lambda pair: f"{pair.concept}/{pair.neutral}")

    def retain_prompts(self, excluded: Collection[str]) -> list[str]:
        """`count` prompts of what must stay, or fewer if there are no more.

        Args:
            excluded: normalised texts that none may be (the evaluation prompts).
        """
        return self._take([t for t in self.retain if normalise(t) not in excluded], str)

    def _take(self, values: Sequence[T], text: Callable[[T], str]) -> list[T]:
        def order(value: T) -> bytes:
            return hashlib.sha256(f"{self.seed}/{text(value)}".encode()).digest()

        return sorted(values, key=order)[: self.count]


@strict
@dataclass(frozen=True)
class _ListForm:
    list: Selection
    count: Annotated[int, whole(1, MOST_PAIRS)]
    seed: Annotated[int, whole(0, 2**31 - 1)]
    retain: Annotated[tuple[Selection, ...], AT_LEAST_ONE]


def read_list(document: Document, words: Sequence[str]) -> PairList:
    """The list under the key `pairs` of a concept's file.

    Args:
        document: the file.
        words: how prompts say the concept; retained prompts that do are left out.
    """
    form = document.read(_ListForm, "pairs")
    listed: list[Pair] = []
    for prompt in _prompts(document, form.list, "pairs", "list"):
        if NEUTRAL not in prompt.labels:
            problem = f"the set has no column {NEUTRAL!r} with each prompt's twin; add it"
            document.fail(problem, "pairs", "list")
        listed.append(Pair(prompt.text, prompt.labels[NEUTRAL]))
    texts = [
        prompt.text
        for index, selection in enumerate(form.retain)
        for prompt in _prompts(document, selection, "pairs", "retain", index)
    ]
    retain = [text for text in dict.fromkeys(texts) if not any(mentions(text, w) for w in words)]
    if not retain:
        problem = "every one of these prompts says the concept; select others"
        document.fail(problem, "pairs", "retain")
    return PairList(form.count, form.seed, tuple(listed), tuple(retain))


def _prompts(document: Document, selection: Selection, *at: str | int) -> list[Prompt]:
    return choose(selection, load_selected(document, selection, *at), "")
