"""Distances between pictures in feature space, for `recall.py` and `coverage.py`.

A picture's *neighbourhood* is the ball around its feature row that reaches to its k-th nearest
neighbour among the pictures of the same model, k = 5. The union of all neighbourhoods stands for
all that the model may draw.
"""

from __future__ import annotations

import numpy as np
from numpy.typing import NDArray

from varbench.metrics.base import Array

NEIGHBOURS = 5
_STEP = 512  # rows of the distance matrix held at a time

Floats = NDArray[np.float64]


def squared_radii(rows: Array, k: int = NEIGHBOURS) -> Floats:
    """Squared distance of each row of [n, d] to its k-th nearest other row, [n]; n > k."""
    found = np.empty(len(rows))
    for start in range(0, len(rows), _STEP):
        part = slice(start, start + _STEP)
        # Each row is its own nearest, at 0, or one of several equal ones.
        found[part] = np.partition(squared_distances(rows[part], rows), k, axis=1)[:, k]
    return found


def within(points: Array, centres: Array, squared: Floats) -> NDArray[np.bool_]:
    """[n] whether each of `points` [n, d] is in any neighbourhood of `centres` [m, d]."""
    found = np.empty(len(points), dtype=np.bool_)
    for start in range(0, len(points), _STEP):
        part = slice(start, start + _STEP)
        found[part] = (squared_distances(points[part], centres) <= squared).any(axis=1)
    return found


def reached(centres: Array, squared: Floats, points: Array) -> NDArray[np.bool_]:
    """[n] whether any of `points` [m, d] is in the neighbourhood of each of `centres` [n, d]."""
    found = np.empty(len(centres), dtype=np.bool_)
    for start in range(0, len(centres), _STEP):
        part = slice(start, start + _STEP)
        found[part] = squared_distances(centres[part], points).min(axis=1) <= squared[part]
    return found


def squared_distances(a: Array, b: Array) -> Floats:
    """Squared Euclidean distances [n, m] of rows [n, d] and [m, d], float64.

    Rows that differ by float32's rounding only (a picture scored in another batch) are at 0, so
    that a tie is one.
    """
    x, y = (np.asarray(rows, dtype=np.float64) for rows in (a, b))
    sizes = (x**2).sum(axis=1)[:, None] + (y**2).sum(axis=1)
    squared: Floats = sizes - 2 * (x @ y.T)
    squared[squared < 1e-10 * sizes] = 0
    return squared
