"""Errors that the user can mend: a message that names the fix, exit code 2, no traceback."""

from __future__ import annotations

from collections.abc import Iterable

from varbench.utils.text import suggest


class UserError(Exception):
    """Something in the request is wrong; the message says what and how to mend it."""


class CheckpointError(UserError):
    """A weights file is missing, damaged, or does not fit the model."""


def unknown(kind: str, name: str, known: Iterable[str]) -> UserError:
    """``unknown method 'svar': did you mean 'svare'? choose one of: ...``."""
    return UserError(f"unknown {kind} {name!r}: {suggest(name, sorted(known))}")
