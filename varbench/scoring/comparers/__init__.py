"""Comparers: what looks at two images at once. Importing this needs numpy only."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path
from typing import Protocol

from varbench.metrics.base import Array

__all__ = ["Comparer"]


class Comparer(Protocol):
    """Says how far two images are apart; version and fingerprint are as a scorer's."""

    @property
    def version(self) -> int: ...
    def fingerprint(self) -> str:
        """Hash of weights and settings."""
        ...

    def compare(self, ours: Sequence[Path], theirs: Sequence[Path]) -> Array:
        """Distances float32 [n] of `ours[i]` and `theirs[i]`: symmetric, 0 for equal images."""
        ...
