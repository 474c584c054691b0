"""What the two diversity metrics share: unit feature rows of each prompt's images.

Erasure can make a model draw the same image whatever the seed (mode collapse). So diversity is
taken per prompt over its image seeds and compared with the unerased model on the same prompts
and seeds. Both metrics depend on the number of images k per prompt; prompts that lost images
are left out, so that k is one number. It is in `details`.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from varbench.metrics.base import Array, MetricInputs, ScoredImages
from varbench.metrics.estimates import dropped_note

Floats = NDArray[np.float64]


@dataclass(frozen=True)
class ByPrompt:
    """A diversity per prompt [J] of both models, sorted by prompt id."""

    ids: Array
    method: Floats
    base: Floats
    images: int  # k per prompt; below 2 there are no values
    note: str


def by_prompt(
    e: MetricInputs, groups: tuple[str, ...], measure: Callable[[Floats], float]
) -> ByPrompt:
    """Apply `measure` to the unit feature rows [k, d] of each prompt of the pooled `groups`."""
    pair = e.pair(*groups)
    ids, starts, sizes = np.unique(pair.base.clusters, return_index=True, return_counts=True)
    k = int(sizes.max(initial=0))
    full = sizes == k
    if k < 2:
        return ByPrompt(ids[:0], np.empty(0), np.empty(0), k, "")
    sides = []
    for group in (pair.method, pair.base):
        rows = unit_features(group)  # sorted by prompt, so a prompt's rows are neighbours
        sides.append(np.array([measure(rows[s : s + k]) for s in starts[full]]))
    lost = "" if full.all() else f"{int((~full).sum())} prompts with under {k} pictures left out"
    note = "; ".join(filter(None, [lost, dropped_note(pair)]))
    return ByPrompt(ids[full], sides[0], sides[1], k, note)


def unit_features(group: ScoredImages) -> Floats:
    """Feature rows of length one, [n, d + 1] float64.

    The extra column is 1 for a row of zeros (a network of ReLUs can give one for a blank image),
    0 otherwise: zeros then equal each other and resemble nothing else.
    """
    rows = np.asarray(group.array("features", "features"), dtype=np.float64)
    length = np.linalg.norm(rows, axis=1, keepdims=True)
    blank = length == 0
    return np.concatenate([rows / np.where(blank, 1.0, length), blank], axis=1)
