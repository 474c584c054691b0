"""Distances between images in feature space, for `recall.py` and `coverage.py`.

An image's *neighbourhood* is the ball around its feature row that reaches to its k-th nearest
neighbour among the images of the same model, k = 5. The union of all neighbourhoods stands for
all that the model may draw.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from varbench.metrics.base import KEPT, Array, MetricInputs, MetricValue
from varbench.metrics.estimates import dropped_note, missing, no_images, paired_mean
from varbench.metrics.info import MetricInfo

NEIGHBOURS = 5
_STEP = 512  # rows of the distance matrix held at a time

Floats = NDArray[np.float64]
Flags = NDArray[np.bool_]


@dataclass(frozen=True)
class NeighbourhoodMetric:
    """Share of the unerased model's images that `hits` finds; a metric says which those are.

    The interval is over the unerased model's prompts (Wilson, clustered), with neighbourhoods as
    they are: a resample of images would repeat some and shrink their balls.
    """

    info: MetricInfo

    def hits(self, ours: Array, base: Array) -> Flags:
        """[n] for each of the unerased model's rows [n, d], given the edited model's [n, d]."""
        raise NotImplementedError

    def details(self, count: int) -> Mapping[str, float]:
        """What is told besides of so many images."""
        raise NotImplementedError

    def compute(self, e: MetricInputs) -> MetricValue:
        """No value with k images or fewer."""
        pair = e.pair(*KEPT)
        if not len(pair):
            return no_images(KEPT)
        if len(pair) <= NEIGHBOURS:
            return missing(f"{NEIGHBOURS} pictures or fewer have no neighbourhoods", len(pair))
        ours, base = (
            side.array(self.info.needs[0], "features") for side in (pair.method, pair.base)
        )
        hits = self.hits(ours, base)
        told = {"k": NEIGHBOURS, "dimensions": base.shape[1], **self.details(len(pair))}
        return paired_mean(
            hits,
            np.ones_like(hits),  # an image is in its own neighbourhood
            pair.base.clusters,
            details=told,
            note=dropped_note(pair),
        )


def squared_radii(rows: Array, k: int = NEIGHBOURS) -> Floats:
    """Squared distance of each row of [n, d] to its k-th nearest other row, [n]; n > k."""
    found = np.empty(len(rows))
    for start in range(0, len(rows), _STEP):
        part = slice(start, start + _STEP)
        # Each row is its own nearest, at 0, or one of several equal ones.
        found[part] = np.partition(squared_distances(rows[part], rows), k, axis=1)[:, k]
    return found


def within(points: Array, centres: Array, squared: Floats) -> Flags:
    """[n] whether each of `points` [n, d] is in any neighbourhood of `centres` [m, d]."""
    found = np.empty(len(points), dtype=np.bool_)
    for start in range(0, len(points), _STEP):
        part = slice(start, start + _STEP)
        found[part] = (squared_distances(points[part], centres) <= squared).any(axis=1)
    return found


def reached(centres: Array, squared: Floats, points: Array) -> Flags:
    """[n] whether any of `points` [m, d] is in the neighbourhood of each of `centres` [n, d]."""
    found = np.empty(len(centres), dtype=np.bool_)
    for start in range(0, len(centres), _STEP):
        part = slice(start, start + _STEP)
        found[part] = squared_distances(centres[part], points).min(axis=1) <= squared[part]
    return found


def squared_distances(a: Array, b: Array) -> Floats:
    """Squared Euclidean distances [n, m] of rows [n, d] and [m, d], float64.

    Rows that differ by float32's rounding only (an image scored in another batch) are at 0, so
    that a tie is one.
    """
    x, y = (np.asarray(rows, dtype=np.float64) for rows in (a, b))
    sizes = (x**2).sum(axis=1)[:, None] + (y**2).sum(axis=1)
    squared: Floats = sizes - 2 * (x @ y.T)
    squared[squared < 1e-10 * sizes] = 0
    return squared
