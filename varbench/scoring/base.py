"""Interfaces of scorers, comparers and judges. Needs numpy only.

A *scorer* turns images into arrays, one row per image; a *comparer* measures pairs of images; a
*judge* predicts a label per attribute ("head") from the arrays that scorers stored.
"""

from __future__ import annotations

import hashlib
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Protocol, runtime_checkable

from varbench.metrics.groups import Array, Arrays, ScoredImages


def settings_hash(settings: object) -> str:
    """SHA-256 of the settings' repr."""
    return hashlib.sha256(repr(settings).encode()).hexdigest()


class Scorer(Protocol):
    """Turns image files into arrays; role, version and fingerprint are part of their key.

    The registry makes one with the `device`, which those without a network in torch do not use.
    """

    @property
    def version(self) -> int: ...
    def fingerprint(self) -> str:
        """Hash of weights and settings; loads no published network.

        Raises:
            MissingNetworkError: a published network's file is not on this machine.
        """
        ...

    def score(self, files: Sequence[Path], prompts: Sequence[str]) -> dict[str, Array]:
        """Arrays with one row per file, in the order of `files`; `prompts[i]` made `files[i]`."""
        ...


class Comparer(Protocol):
    """Distance of two images; version and fingerprint as of a scorer."""

    @property
    def version(self) -> int: ...
    def fingerprint(self) -> str: ...
    def compare(self, first: Sequence[Path], second: Sequence[Path]) -> Array:
        """Distances float32 [n] of `first[i]` and `second[i]`: symmetric, 0 for equal images."""
        ...


class Judge(Protocol):
    """Predicts one label per head from the arrays that scorers stored.

    The registry makes one of the concept, whose prompt sets name the labels, and of the scorers
    by role. A UserError says why the concept cannot have this judge.
    """

    @property
    def version(self) -> int: ...
    @property
    def labels(self) -> Mapping[str, tuple[str, ...]]:
        """Label names of each head."""
        ...

    def fingerprint(self) -> str:
        """Hash of what decides the predictions, besides the stored arrays."""
        ...

    def predict(self, scores: Mapping[str, Arrays]) -> Arrays:
        """Per head `h`: `h` int64 [n], index into its labels; `h_p` float32 [n], its probability.

        `unrecognised`, bool [n], is True where the judge sees nothing that it knows, whatever its
        labels. Further arrays may follow, for metrics that need `judge.NAME`.
        """
        ...


@runtime_checkable
class ReferenceJudge(Protocol):
    """A judge that compares with images of the base model, and predicts nothing before."""

    def with_references(self, base: Mapping[str, ScoredImages]) -> Judge:
        """The judge with references from the base model's images, by group."""
        ...
