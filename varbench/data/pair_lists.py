"""Training pairs that a prompt set lists, instead of a recipe that makes them (`pairs.py`).

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

from varbench.data.prompt import Prompt
from varbench.data.selection import choose, read_selection
from varbench.data.training_pairs import Pair
from varbench.data.yaml_files import Field
from varbench.utils.text import mentions, normalise

NEUTRAL = "neutral"
_MOST_PAIRS = 1000

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
        return self._some(free, lambda pair: f"{pair.concept}/{pair.neutral}")

    def retain_prompts(self, excluded: Collection[str]) -> list[str]:
        """`count` prompts of what must stay, or fewer if there are no more.

        Args:
            excluded: normalised texts that none may be (the evaluation prompts).
        """
        return self._some([t for t in self.retain if normalise(t) not in excluded], str)

    def _some(self, values: Sequence[T], text: Callable[[T], str]) -> list[T]:
        def order(value: T) -> bytes:
            return hashlib.sha256(f"{self.seed}/{text(value)}".encode()).digest()

        return sorted(values, key=order)[: self.count]


def read_list(block: Field, words: Sequence[str]) -> PairList:
    """A list from a YAML file.

    Args:
        block: the key `pairs` of a concept.
        words: how prompts say the concept; retained prompts that do are left out.
    """
    keys = block.keys(("list", "count", "seed", "retain"))
    listed: list[Pair] = []
    for prompt in _prompts(keys["list"]):
        if NEUTRAL not in prompt.labels:
            keys["list"].fail(f"the set has no column {NEUTRAL!r} with each prompt's twin; add it")
        listed.append(Pair(prompt.text, prompt.labels[NEUTRAL]))
    retain = [prompt.text for item in keys["retain"].items() for prompt in _prompts(item)]
    kept = [text for text in dict.fromkeys(retain) if not any(mentions(text, w) for w in words)]
    if not kept:
        keys["retain"].fail("every one of these prompts says the concept; select others")
    return PairList(
        count=keys["count"].integer(1, _MOST_PAIRS),
        seed=keys["seed"].integer(0, 2**31 - 1),
        listed=tuple(listed),
        retain=tuple(kept),
    )


def _prompts(entry: Field) -> list[Prompt]:
    selection, prompt_set = read_selection(entry)
    return choose(selection, prompt_set, "")
