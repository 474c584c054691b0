"""Comparing texts: whether a prompt says a phrase, and what a misspelt name was meant to be."""

from __future__ import annotations

import difflib
import re
import unicodedata
from collections.abc import Iterable
from functools import lru_cache

_NO_WORD = re.compile(r"[\W_]+")
_SHOWN = 12  # names listed in an error message


@lru_cache(maxsize=1 << 16)  # prompts are compared with many words
def normalise(text: str) -> str:
    """The words of a text, case-folded, one space between them, without punctuation."""
    folded = unicodedata.normalize("NFKC", unicodedata.normalize("NFKC", text).casefold())
    return _NO_WORD.sub(" ", folded).strip()


def says(text: str, phrase: str) -> bool:
    """Whether the text contains the phrase as whole words ("art" is not in "a party")."""
    words = normalise(phrase)
    return bool(words) and f" {words} " in f" {normalise(text)} "


def suggest(name: str, valid: Iterable[str]) -> str:
    """The end of an error message about an unknown name: the nearest valid one, then the choice.

    Returns:
        ``did you mean 'x'? choose one of: x, y, z``, or without the question if none is near.
    """
    names = list(dict.fromkeys(valid))
    if not names:
        return "there is none to choose from"
    folded = {one.casefold(): one for one in reversed(names)}
    near = difflib.get_close_matches(name.casefold(), folded, n=1)
    question = f"did you mean {folded[near[0]]!r}? " if near else ""
    more = f", ... ({len(names)} in all)" if len(names) > _SHOWN else ""
    return f"{question}choose one of: {', '.join(names[:_SHOWN])}{more}"
