"""Texts: matching of words and phrases; sizes and durations in readable units."""

from __future__ import annotations

import re
import unicodedata
from functools import lru_cache

_NO_WORD = re.compile(r"[\W_]+")
_CONTROL = re.compile(r"[\x00-\x08\x0b-\x1f\x7f-\x9f\u2028-\u202e\ud800-\udfff\u2066-\u2069]")


@lru_cache(maxsize=1 << 16)  # prompts are compared with many words
def normalise(text: str) -> str:
    """The words of a text, case-folded, one space between them, without punctuation."""
    folded = unicodedata.normalize("NFKC", unicodedata.normalize("NFKC", text).casefold())
    return _NO_WORD.sub(" ", folded).strip()


def mentions(text: str, phrase: str) -> bool:
    """True if the text contains the phrase as whole words ("art" is not in "a party")."""
    words = normalise(phrase)
    return bool(words) and f" {words} " in f" {normalise(text)} "


def size(amount: float) -> str:
    """Bytes with three digits: 950 bytes, 12.4 MB, 36.5 GB."""
    for unit, name in ((1e9, "GB"), (1e6, "MB"), (1e3, "kB")):
        if amount >= unit:
            return f"{amount / unit:.3g} {name}"
    return f"{amount:.0f} bytes"


def duration(amount: float) -> str:
    """Seconds with two digits: 42 s, 7.5 min, 3.2 h, 2.4 days."""
    for unit, name in ((86400, "days"), (3600, "h"), (60, "min")):
        if amount >= 2 * unit:
            return f"{_two_digits(amount / unit)} {name}"
    return f"{_two_digits(amount)} s"


def _two_digits(number: float) -> str:
    """At least two, without an exponent: 0.034, 4.2, 42, 119."""
    return f"{number:.0f}" if number >= 10 else f"{number:.2g}"


def printable(text: str) -> str:
    """A text that a terminal shows as it stands: control characters become their codes."""
    return _CONTROL.sub(lambda match: repr(match[0])[1:-1], text)
