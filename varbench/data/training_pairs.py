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
from itertools import chain
from typing import Annotated

from varbench.data.yaml_files import AT_LEAST_ONE, Document, Labels, Texts, strict, whole
from varbench.errors import suggest
from varbench.utils.text import mentions, normalise

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
    """How training pairs are made; the meaning of the fields is in the module's docstring."""

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
    seen: set[str] = set()
    for pair in _candidates(recipe, replacement):
        concept, neutral = normalise(pair.concept), normalise(pair.neutral)
        if concept in seen or concept in excluded or neutral in excluded:
            continue
        seen.add(concept)
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


def read_recipe(document: Document, words: Sequence[str], replacement: Sequence[str]) -> PairRecipe:
    """The recipe under the key `pairs` of a concept's file.

    Args:
        document: the file.
        words: how prompts say the concept; the neutral side must not.
        replacement: what `{replacement}` stands for.
    """
    recipe = document.read(PairRecipe, "pairs")
    for name in recipe.slots:
        if name in (PHRASE, REPLACEMENT) or not name.isidentifier():
            document.fail(f"a slot cannot be called {name!r}; rename it", "pairs", "slots", name)
    if len(recipe.neutral) not in (1, len(recipe.concept)):
        document.fail(
            f"{len(recipe.neutral)} neutral phrases for {len(recipe.concept)} concept phrases; "
            "give one for each, in the same order, or a single one for all",
            "pairs",
            "neutral",
        )
    _check_placeholders(document, recipe, bool(replacement))
    _check_neutral(document, recipe, words)
    return recipe


_Parts = Iterator[tuple[tuple[str | int, ...], str]]


def _parts(recipe: PairRecipe, *keys: str) -> _Parts:
    """The texts of lists of a recipe, each with its place in the file."""
    for key in keys:
        for index, text in enumerate(getattr(recipe, key)):
            yield ("pairs", key, index), text


def _slot_values(recipe: PairRecipe) -> _Parts:
    for name, values in recipe.slots.items():
        for index, text in enumerate(values):
            yield ("pairs", "slots", name, index), text


def _check_placeholders(document: Document, recipe: PairRecipe, replaced: bool) -> None:
    used: set[str] = set()
    extra = {"templates": [PHRASE], "neutral": [REPLACEMENT] if replaced else []}
    for at, text in _parts(recipe, "templates", "concept", "neutral", "retain"):
        key = str(at[1])
        valid = [*extra.get(key, []), *recipe.slots]
        try:
            names = placeholders(text)
        except ValueError as error:
            document.fail(f"{text!r}: {error}; write slots as {{name}}, and no other braces", *at)
        for name in names:
            if name not in valid:
                document.fail(f"{text!r} asks for {{{name}}}: {suggest(name, valid)}", *at)
        if key == "templates" and names.count(PHRASE) != 1:
            document.fail(f"{text!r} must have the placeholder {{{PHRASE}}} once; add it", *at)
        used.update(names)
    for name in recipe.slots:
        if name not in used:
            problem = f"slot {name!r} is never used; add {{{name}}} to a template or delete it"
            document.fail(problem, "pairs", "slots", name)
    for at, text in _slot_values(recipe):
        if set("{}") & set(text):
            document.fail("a slot's value cannot have slots of its own; write it out", *at)


def _check_neutral(document: Document, recipe: PairRecipe, words: Sequence[str]) -> None:
    """No part of a neutral prompt says the concept."""
    for at, text in chain(_parts(recipe, "templates", "neutral", "retain"), _slot_values(recipe)):
        for word in words:
            if mentions(_blank(text), word):
                document.fail(
                    f"{text!r} is part of prompts without the concept but still says {word!r}; "
                    "reword it without the concept",
                    *at,
                )
    for number, phrase in enumerate(recipe.concept):
        index = number % len(recipe.neutral)
        neutral = recipe.neutral[index]
        if mentions(_blank(neutral), _blank(phrase)):
            document.fail(
                f"the neutral phrase {neutral!r} contains its concept phrase {phrase!r}; "
                "reword it without the concept",
                "pairs",
                "neutral",
                index,
            )


def _blank(text: str) -> str:
    """The text with placeholders that no word of a concept matches or bridges."""
    return fill(text, {name: f"0{name}0" for name in placeholders(text)})


def check_pairs(
    document: Document, count: int, pairs: Sequence[Pair], words: Sequence[str]
) -> None:
    """Complain unless there are `count` pairs and each says the concept on one side only."""
    for pair in pairs:
        if normalise(pair.concept) == normalise(pair.neutral):
            problem = f"both sides of a pair are {pair.neutral!r}; reword one of them"
            document.fail(problem, "pairs", "neutral")
        for word in words:
            if mentions(pair.neutral, word):
                document.fail(
                    f"the neutral prompt {pair.neutral!r} still says {word!r}; "
                    "reword the phrase, template or slot it comes from",
                    "pairs",
                    "neutral",
                )
    if len(pairs) < count:
        document.fail(
            f"only {len(pairs)} distinct pairs can be made, not {count}; "
            "lower 'count', or add templates, phrases or slot values",
            "pairs",
            "count",
        )
