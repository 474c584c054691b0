"""Text matching: normalised words, and whether a text contains a phrase."""

from __future__ import annotations

import re
import unicodedata
from functools import lru_cache

_NO_WORD = re.compile(r"[\W_]+")


@lru_cache(maxsize=1 << 16)  # prompts are compared with many words
def normalise(text: str) -> str:
    """The words of a text, case-folded, one space between them, without punctuation."""
    folded = unicodedata.normalize("NFKC", unicodedata.normalize("NFKC", text).casefold())
    return _NO_WORD.sub(" ", folded).strip()


def mentions(text: str, phrase: str) -> bool:
    """True if the text contains the phrase as whole words ("art" is not in "a party")."""
    words = normalise(phrase)
    return bool(words) and f" {words} " in f" {normalise(text)} "
