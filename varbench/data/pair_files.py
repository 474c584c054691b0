"""The key `pairs` of a concept file: a recipe or a list of training pairs, read and checked."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from itertools import chain
from typing import Annotated, Any

from varbench.data.prompt import Prompt
from varbench.data.selection import Selection, choose, load_selected
from varbench.data.training_pairs import (
    MOST_PAIRS,
    PHRASE,
    REPLACEMENT,
    Pair,
    PairList,
    PairRecipe,
    fill,
    placeholders,
)
from varbench.data.yaml_files import AT_LEAST_ONE, Document, strict, whole
from varbench.errors import suggest
from varbench.utils.text import mentions, normalise


def read_pairs(
    document: Document, content: Any, words: Sequence[str], replacement: Sequence[str]
) -> PairRecipe | PairList:
    """The recipe or the list of a concept file.

    Args:
        document: the file.
        content: of its key `pairs`, not checked yet.
        words: how prompts say the concept; neutral sides must not, and retained prompts that do
            are left out.
        replacement: what `{replacement}` stands for.
    """
    if isinstance(content, dict) and "list" in content:
        return _read_list(document, words)
    return _read_recipe(document, words, replacement)


@strict
@dataclass(frozen=True)
class _ListForm:
    list: Selection
    count: Annotated[int, whole(1, MOST_PAIRS)]
    seed: Annotated[int, whole(0, 2**31 - 1)]
    retain: Annotated[tuple[Selection, ...], AT_LEAST_ONE]


def _read_list(document: Document, words: Sequence[str]) -> PairList:
    form = document.read(_ListForm, "pairs")
    listed: list[Pair] = []
    for prompt in _prompts(document, form.list, "pairs", "list"):
        if "neutral" not in prompt.labels:
            problem = "the set has no column 'neutral' with each prompt's twin; add it"
            document.fail(problem, "pairs", "list")
        listed.append(Pair(prompt.text, prompt.labels["neutral"]))
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


def _read_recipe(
    document: Document, words: Sequence[str], replacement: Sequence[str]
) -> PairRecipe:
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
