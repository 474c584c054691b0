"""Text from outside (prompts, names) made safe to show, and numbers made readable."""

from __future__ import annotations

import unicodedata
from collections.abc import Mapping
from pathlib import Path

from varbench.utils.files import write_whole

MISSING = "–"
MINUS = "\u2212"  # as wide as a plus sign, so that signed columns line up

# Joiners belong to the spelling of Persian, of Indian languages and of emoji.
_JOINERS = {"\u200c", "\u200d"}


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


def number(value: float | None, digits: int, *, signed: bool = False) -> str:
    """`value` with `digits` decimals, or an en dash for None; never "-0.00"."""
    if value is None:
        return MISSING
    rounded = round(value, digits) + 0.0  # -0.0 + 0.0 is 0.0
    text = f"{rounded:.{digits}f}"
    if signed and rounded > 0:
        text = "+" + text
    return text.replace("-", MINUS)


def count(value: int) -> str:
    """A whole number with thousands separated by a thin space."""
    return f"{value:,}".replace(",", "\u2009")


def write_texts(texts: Mapping[str, str], out: Path) -> list[Path]:
    """Write texts by file name into folder `out`, each whole or not at all; returns the files."""
    out.mkdir(parents=True, exist_ok=True)
    paths = [out / name for name in texts]
    for path, text in zip(paths, texts.values(), strict=True):
        write_whole(path, text)
    return paths
