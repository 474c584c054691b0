"""Seeds of edits: one range, whoever takes them."""

from __future__ import annotations

from varbench.errors import UserError

LARGEST = 2**32 - 1
"""What torch's generators take, after training has multiplied it by the number of passes."""


def check_seed(seed: int) -> int:
    """The seed. Raises UserError if it is negative or too large."""
    if not 0 <= seed <= LARGEST:
        raise UserError(f"a seed is a whole number from 0 to {LARGEST}, got {seed}")
    return seed
