"""Seeds of edits: one range, whoever takes them."""

from __future__ import annotations

from varbench.errors import UserError

LARGEST = 2**32 - 1
"""The largest seed; training multiplies it, and the product has to fit a generator of torch."""


def check_seed(seed: int) -> int:
    """The seed. Raises UserError if it is negative or too large."""
    if not 0 <= seed <= LARGEST:
        raise UserError(f"a seed is a whole number from 0 to {LARGEST}, got {seed}")
    return seed
