"""The target of an edit: one concept or several at once, with all their training pairs or some."""

from __future__ import annotations

import hashlib
from collections.abc import Sequence
from dataclasses import dataclass
from itertools import chain, zip_longest
from typing import TypeVar

from varbench.data.concept import Concept
from varbench.data.prompt import Prompt
from varbench.data.training_pairs import Pair
from varbench.utils.text import mentions

T = TypeVar("T")
JOIN = "+"
"""Between the names of concepts that are erased together, as in ``face-ada+church``."""


@dataclass(frozen=True)
class EraseTarget:
    """The concepts of one edit, as methods see them.

    Attributes:
        concepts: at least one.
        limit: training pairs used of each concept, the first ones; 0 = all.

    Raises:
        ValueError: no concept, or one of them twice.
    """

    concepts: tuple[Concept, ...]
    limit: int = 0

    def __post_init__(self) -> None:
        names = [concept.name for concept in self.concepts]
        if not names or len(set(names)) < len(names):
            raise ValueError(f"needs distinct concepts, got {names}")

    @property
    def name(self) -> str:
        """The names, joined by a plus."""
        return JOIN.join(concept.name for concept in self.concepts)

    @property
    def words(self) -> tuple[str, ...]:
        """Words by which prompts say any of the concepts."""
        return self._texts("words")

    @property
    def synonyms(self) -> tuple[str, ...]:
        """Other ways to say them."""
        return self._texts("synonyms")

    @property
    def replacement(self) -> tuple[str, ...]:
        """Words that take their places."""
        return self._texts("replacement")

    def _texts(self, key: str) -> tuple[str, ...]:
        return tuple(dict.fromkeys(chain.from_iterable(getattr(c, key) for c in self.concepts)))

    def pairs(self) -> list[Pair]:
        """The training pairs, taken from the concepts in turn; no neutral side says one of them."""
        each = [[p for p in c.pairs() if not self._mentions(p.neutral)] for c in self.concepts]
        return _in_turn([pairs[: self.limit or None] for pairs in each])

    def retain_prompts(self) -> list[str]:
        """Prompts of what must stay, taken from the concepts in turn; none says an erased one."""
        texts = _in_turn([concept.retain_prompts() for concept in self.concepts])
        return [text for text in dict.fromkeys(texts) if not self._mentions(text)]

    def _mentions(self, text: str) -> bool:
        return any(mentions(text, word) for word in (*self.words, *self.synonyms))

    def depicts(self, prompt: Prompt) -> bool:
        """True if a faithful image of the prompt shows any of the concepts."""
        return any(concept.depicts(prompt) for concept in self.concepts)

    def digest(self) -> str:
        """Hash of everything that decides an edit, 64 hex digits; a whole concept's is its own."""
        if len(self.concepts) == 1 and not self.limit:
            return self.concepts[0].training_digest()
        parts = [*(concept.training_digest() for concept in self.concepts), f"pairs {self.limit}"]
        return hashlib.sha256("/".join(parts).encode()).hexdigest()


def _in_turn(lists: Sequence[Sequence[T]]) -> list[T]:
    turns = chain.from_iterable(zip_longest(*lists))
    return [item for item in turns if item is not None]
