"""Errors that the user can mend: a message that names the fix, exit code 2, no traceback."""

from __future__ import annotations

import difflib
import re
from collections.abc import Collection, Iterable

_SHOWN = 12  # names listed in an error message
_MACHINE = re.compile(
    r"out of memory|(can'?t|cannot|not|failed to|unable to) allocate|not enough memory|bad_?alloc|"
    r"insufficient memory|alloc_failed|\b(cuda|cudnn|cublas|hip|nccl)[ _](error|status)",
    re.IGNORECASE,
)


class UserError(Exception):
    """Something in the request is wrong; the message says what and how to mend it."""


class CheckpointError(UserError):
    """A weights file is missing, damaged, or does not fit the model."""


def unknown(kind: str, name: str, known: Iterable[str]) -> UserError:
    """``unknown method 'svar': did you mean 'svare'? choose one of: ...``."""
    return UserError(f"unknown {kind} {name!r}: {suggest(name, sorted(known))}")


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


def check_choice(name: str, value: str, known: Collection[str]) -> None:
    """Raise ValueError for an unknown value of a setting; the message lists the known ones."""
    if value not in known:
        raise ValueError(f"{name} must be one of {', '.join(known)}, got {value!r}")


def check_least(least: float, **settings: float) -> None:
    """Raise ValueError for a setting below the least value that it may have."""
    for name, value in settings.items():
        if value < least:
            bound = f"be at least {least}" if least else "not be negative"
            raise ValueError(f"{name} must {bound}, got {value}")


def check_positive(**settings: float) -> None:
    """Raise ValueError for a setting that is 0 or less."""
    for name, value in settings.items():
        if value <= 0:
            raise ValueError(f"{name} must be positive, got {value}")


def machine_failed(error: BaseException) -> bool:
    """True if memory ran out or the device broke: the fault of no image and of no file."""
    cause: BaseException | None = error
    while cause is not None:
        if isinstance(cause, MemoryError) or _MACHINE.search(str(cause)):
            return not isinstance(cause, UserError)
        cause = cause.__cause__
    return False
