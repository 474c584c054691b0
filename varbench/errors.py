"""Errors that the user can mend: a message that names the fix, exit code 2, no traceback."""

from __future__ import annotations

import difflib
from collections.abc import Iterable


class UserError(Exception):
    """Something in the request is wrong; the message says what and how to mend it."""


class CheckpointError(UserError):
    """A weights file is missing, damaged, or does not fit the model."""


def unknown(kind: str, name: str, known: Iterable[str]) -> UserError:
    """'unknown method "svar"; did you mean "svare"? There are: ...'."""
    names = sorted(known)
    near = difflib.get_close_matches(name, names, n=1, cutoff=0.5)
    hint = f" Did you mean {near[0]!r}?" if near else ""
    return UserError(f"unknown {kind} {name!r}.{hint} There are: {', '.join(names)}")
