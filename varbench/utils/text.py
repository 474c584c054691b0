"""Texts: words and phrases matched, sizes and durations in readable units, safe to show."""

from __future__ import annotations

import re
import unicodedata
from collections.abc import Iterator
from functools import lru_cache

_NO_WORD = re.compile(r"[\W_]+")
# Joiners belong to the spelling of Persian, of Indian languages and of emoji.
_JOINERS = {"\u200c", "\u200d"}

# Thai to Balinese, then Chinese and Japanese: written without spaces between words.
_UNSPACED = re.compile(
    "[\u0e00-\u0eff\u1000-\u109f\u1780-\u17ff\u1950-\u19ff\u1a20-\u1aaf\u1b00-\u1b7f"
    "\u2e80-\u2fdf\u3005-\u3007\u3021-\u312f\u31a0-\u31ff\u3400-\u4dbf\u4e00-\u9fff"
    "\ua980-\ua9ff\uaa60-\uaadf\uf900-\ufaff\U00020000-\U0003ffff]"
)
# Unseen: fillers, and signs that choose among shapes of the character before them.
_UNSEEN = re.compile(
    "[\u034f\u0640\u115f\u1160\u17b4\u17b5\u180b-\u180f\u3164\uffa0\ufe00-\ufe0f\U000e0100-\U000e01ef]"
)


@lru_cache(maxsize=1 << 16)  # prompts are compared with many words
def normalise(text: str) -> str:
    """The words of a text, case-folded, one space between them, without punctuation.

    Vowel signs and accents belong to their letters; points of Hebrew and Arabic, which may be left
    out, and characters of no width are dropped. In scripts without spaces (Chinese, Japanese, Thai,
    Lao, Khmer, Burmese) each character counts as a word, together with its signs.
    """
    folded = unicodedata.normalize("NFKC", unicodedata.normalize("NFKC", text).casefold())
    if folded.isascii():
        return _NO_WORD.sub(" ", folded).strip()
    return " ".join("".join(_spelled(_UNSEEN.sub("", folded))).split())


def _spelled(text: str) -> Iterator[str]:
    """The characters of words, and spaces where words end."""
    last, alone = " ", False
    for char in text:
        kind = unicodedata.category(char)
        if kind in ("Mn", "Mc"):
            is_point = 10 <= unicodedata.combining(char) <= 36  # of Hebrew and Arabic
            yield "" if is_point or last == " " else char
        elif kind != "Cf":
            before, alone = alone, _UNSPACED.match(char) is not None
            last = char if char.isalnum() else " "
            yield f" {last}" if before or alone else last


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
