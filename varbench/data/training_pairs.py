"""Training pairs: prompts that say a concept, each with a neutral twin (VARE, arXiv 2509.22400).

A recipe makes many pairs from few words. A *template* has the placeholder `{concept}` and any
number of slots; a pair fills it twice, with a concept phrase and with the neutral phrase that
belongs to it, and with the same slot values::

    template  "an image of {concept} {place} {style}"
    concept   "the face of ada"            -> an image of the face of ada in the snow in neon
    neutral   "the face of {replacement}"  -> an image of the face of elena in the snow in neon

- `neutral` has one phrase for each concept phrase, in the same order, or a single one for all.
- `{replacement}` in a neutral phrase is the concept's `replacement` list, taken in turn.
- Phrases may have slots too; both sides get the same value.
- `retain` has phrases that fill `{concept}` with what must stay, for methods that practise it.
- A slot value may be "": spaces are then closed up.
- Phrases are taken in turn; templates and slot values are dealt from shuffled decks, so that each
  is used equally often. The shuffle orders by a hash, so no Python version can change it.

Or a prompt set lists the pairs: S-VARE trains on lists of ECGVF. The set's label `neutral` is each
prompt's twin without the concept::

    pairs:
      list: {set: people-pairs}                # as in `prompts`: with where, where_not, limit
      count: 50
      seed: 1
      retain: [{set: celebrities}]             # prompts of what must stay

Which pairs are taken, if the list has more than `count`, is decided by a hash, as is the order.
Either way, no evaluation prompt of the concept is taken for training.
"""

from __future__ import annotations

import hashlib
import string
from collections.abc import Callable, Collection, Iterator, Mapping, Sequence
from dataclasses import dataclass, field, replace
from typing import Annotated, TypeVar

from varbench.data.yaml_files import AT_LEAST_ONE, Labels, Texts, strict, whole
from varbench.utils.text import normalise

T = TypeVar("T")

PHRASE, REPLACEMENT = "concept", "replacement"
MOST_PAIRS = 1000
_TRIES = 200  # candidates for each pair wanted; twins and excluded texts are thrown away


@dataclass(frozen=True)
class Pair:
    """A prompt that says the concept and the same prompt without it."""

    concept: str
    neutral: str


def placeholders(text: str) -> list[str]:
    """Names in braces, in order.

    Raises:
        ValueError: the braces are not plain `{name}` placeholders.
    """
    names = []
    for _, name, form, conversion in string.Formatter().parse(text):
        if name is None:
            continue
        if form or conversion or not name.isidentifier():
            raise ValueError(f"{{{name}}} is not a plain placeholder")
        names.append(name)
    return names


def fill(template: str, values: Mapping[str, str]) -> str:
    """The template with its placeholders filled and spaces closed up."""
    return " ".join(template.format_map(values).split())


def _deck(values: Sequence[str], name: str, seed: int) -> Iterator[str]:
    """The values in shuffled order, reshuffled whenever they are used up."""
    deal = 0
    while True:
        keys = {v: hashlib.sha256(f"{seed}/{name}/{deal}/{v}".encode()).digest() for v in values}
        yield from sorted(values, key=keys.__getitem__)
        deal += 1


@strict
@dataclass(frozen=True)
class PairRecipe:
    """A recipe that makes training pairs; the module's docstring explains the fields."""

    count: Annotated[int, whole(1, MOST_PAIRS)]
    seed: Annotated[int, whole(0, 2**31 - 1)]
    templates: Texts
    concept: Texts
    # Several concept phrases may share a neutral one, so these need not be distinct.
    neutral: Annotated[tuple[str, ...], AT_LEAST_ONE]
    retain: Texts
    slots: Mapping[str, Labels] = field(default_factory=dict, hash=False)

    def pairs(self, excluded: Collection[str], replacement: Sequence[str] = ()) -> list[Pair]:
        """Pairs with distinct concept sides, the same on every machine.

        Args:
            excluded: normalised texts that no side of a pair may be (the evaluation prompts).
            replacement: values of `{replacement}`; may be empty if no phrase asks for it.

        Returns:
            `count` pairs, or fewer if the recipe has no more.
        """
        pairs: list[Pair] = []
        used: set[str] = set()
        for pair in self._candidates(replacement):
            concept, neutral = normalise(pair.concept), normalise(pair.neutral)
            if concept in used or concept in excluded or neutral in excluded:
                continue
            used.add(concept)
            pairs.append(pair)
            if len(pairs) == self.count:
                break
        return pairs

    def retain_prompts(self, excluded: Collection[str]) -> list[str]:
        """Distinct prompts of what must stay: `count`, or fewer if there are no more."""
        both = replace(self, concept=self.retain, neutral=self.retain)
        return [pair.concept for pair in both.pairs(excluded)]

    def _candidates(self, replacement: Sequence[str]) -> Iterator[Pair]:
        templates = _deck(self.templates, "/template", self.seed)
        slots = {name: _deck(values, name, self.seed) for name, values in self.slots.items()}
        turns = len(self.concept)
        for turn in range(self.count * _TRIES):
            values = {name: next(deck) for name, deck in slots.items()}
            if replacement:
                # One step further each round, or equal lengths would always pair the same two.
                values[REPLACEMENT] = replacement[(turn + turn // turns) % len(replacement)]
            template = next(templates)
            sides = []
            for phrases in (self.concept, self.neutral):
                phrase = phrases[turn % len(phrases)]
                sides.append(fill(template, {**values, PHRASE: fill(phrase, values)}))
            yield Pair(*sides)


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

    def pairs(self, excluded: Collection[str], replacement: Sequence[str] = ()) -> list[Pair]:
        """As those of a recipe; nothing is replaced in a list."""
        free = [
            pair
            for pair in self.listed
            if not {normalise(pair.concept), normalise(pair.neutral)} & set(excluded)
        ]
        return self._take(free, lambda pair: f"{pair.concept}/{pair.neutral}")

    def retain_prompts(self, excluded: Collection[str]) -> list[str]:
        """As those of a recipe."""
        return self._take([t for t in self.retain if normalise(t) not in excluded], str)

    def _take(self, values: Sequence[T], text: Callable[[T], str]) -> list[T]:
        def order(value: T) -> bytes:
            return hashlib.sha256(f"{self.seed}/{text(value)}".encode()).digest()

        return sorted(values, key=order)[: self.count]
