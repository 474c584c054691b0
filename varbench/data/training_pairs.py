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
"""

from __future__ import annotations

import hashlib
import string
from collections.abc import Collection, Iterator, Mapping, Sequence
from dataclasses import dataclass, field, replace
from typing import Annotated

from varbench.data.yaml_fields import AT_LEAST_ONE, Labels, Texts, strict, whole
from varbench.utils.text import normalise

PHRASE, REPLACEMENT = "concept", "replacement"
MOST_PAIRS = 1000
_TRIES = 200  # candidates for each pair wanted; twins and excluded texts are thrown away


@dataclass(frozen=True)
class Pair:
    """A prompt that says the concept and the same prompt without it."""

    concept: str
    neutral: str


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


def _candidates(recipe: PairRecipe, replacement: Sequence[str]) -> Iterator[Pair]:
    templates = _deck(recipe.templates, "/template", recipe.seed)
    slots = {name: _deck(values, name, recipe.seed) for name, values in recipe.slots.items()}
    turns = len(recipe.concept)
    for turn in range(recipe.count * _TRIES):
        values = {name: next(deck) for name, deck in slots.items()}
        if replacement:
            # One step further each round, or equal lengths would always pair the same two.
            values[REPLACEMENT] = replacement[(turn + turn // turns) % len(replacement)]
        template = next(templates)
        sides = []
        for phrases in (recipe.concept, recipe.neutral):
            phrase = phrases[turn % len(phrases)]
            sides.append(fill(template, {**values, PHRASE: fill(phrase, values)}))
        yield Pair(*sides)


def make_pairs(
    recipe: PairRecipe, replacement: Sequence[str], excluded: Collection[str] = ()
) -> list[Pair]:
    """Distinct pairs, the same on every machine.

    Args:
        recipe: how they are made; its placeholders must all have values.
        replacement: values of `{replacement}`; may be empty if no phrase asks for it.
        excluded: normalised texts that no side of a pair may be (the evaluation prompts).

    Returns:
        `recipe.count` pairs with distinct concept sides, or fewer if the recipe has no more.
    """
    pairs: list[Pair] = []
    used: set[str] = set()
    for pair in _candidates(recipe, replacement):
        concept, neutral = normalise(pair.concept), normalise(pair.neutral)
        if concept in used or concept in excluded or neutral in excluded:
            continue
        used.add(concept)
        pairs.append(pair)
        if len(pairs) == recipe.count:
            break
    return pairs


def make_retain_prompts(recipe: PairRecipe, excluded: Collection[str] = ()) -> list[str]:
    """Distinct prompts of what must stay: as many as pairs, or fewer if there are no more.

    Args:
        recipe: its templates and slots, with `retain` in place of the concept.
        excluded: normalised texts that none may be (the evaluation prompts).
    """
    both = replace(recipe, concept=recipe.retain, neutral=recipe.retain)
    return [pair.concept for pair in make_pairs(both, (), excluded)]
