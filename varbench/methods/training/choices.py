"""Settings with a fixed set of values."""

from __future__ import annotations

from collections.abc import Collection


def check_choice(name: str, value: str, known: Collection[str]) -> None:
    """Raise ValueError for an unknown value of a setting; the message lists the known ones."""
    if value not in known:
        raise ValueError(f"{name} must be one of {', '.join(known)}, got {value!r}")
