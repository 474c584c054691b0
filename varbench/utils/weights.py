"""Weights files that are none: a pointer, a page, or a pickle of something else."""

from __future__ import annotations

import pickle
import re
from pathlib import Path

_PAGE = re.compile(rb"\s*(<!doctype|<html|<\?xml|<head|<error)", re.IGNORECASE)


def stand_in(path: Path) -> str | None:
    """Description of a text that lies where weights should, as downloads leave it; else None."""
    try:
        with path.open("rb") as file:
            start = file.read(512).removeprefix(b"\xef\xbb\xbf")
    except OSError:
        return None
    if start.startswith(b"version https://git-lfs"):
        return "a pointer of Git LFS"
    return "a page" if _PAGE.match(start) else None


def why_unread(path: Path, error: Exception) -> str:
    """The reason that a weights file cannot be read, without torch's advice to read it unsafely."""
    if kind := stand_in(path):
        return f"{kind}, not weights"
    if not isinstance(error, pickle.UnpicklingError) and "weights_only" not in str(error):
        return f"{type(error).__name__}: {error}"
    name = re.search(r"GLOBAL (\S+)", str(error))
    inside = f"something else ({name[1]})" if name else "something else, or is damaged"
    return f"only tensors are read, and it holds {inside}"
