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
from typing import TypeVar

from varbench.data.training_pairs import Pair
from varbench.utils.text import normalise

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
