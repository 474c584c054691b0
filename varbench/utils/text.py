"""Texts: words and phrases matched, sizes and durations in readable units, safe to show."""

from __future__ import annotations

import re
import unicodedata
from functools import lru_cache

_NO_WORD = re.compile(r"[\W_]+")
# Joiners belong to the spelling of Persian, of Indian languages and of emoji.
_JOINERS = {"\u200c", "\u200d"}


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


def visible(text: str, keep: str = "") -> str:
    """`text` with every control and direction character spelled out, such as `[U+202E]`.

    Prompts come from files that strangers write. A direction override makes a line read as
    something else, an escape sequence recolours a terminal, a lone surrogate cannot be written
    as UTF-8. Line breaks and tabs become spaces; the characters in `keep` stay as they are.
    """
    if text.isascii() and text.isprintable():  # most text, and every embedded image
        return text
    out = []
    for char in text:
        if char in keep or char in _JOINERS or unicodedata.category(char)[0] != "C":
            out.append(char)
        elif char in "\n\r\t":
            out.append(" ")
        elif unicodedata.category(char) in {"Co", "Cn"}:  # private use, newer than our Unicode
            out.append(char)
        else:
            out.append(f"[U+{ord(char):04X}]")
    return "".join(out)
