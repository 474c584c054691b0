"""Recall and coverage: how much of what the base model draws can the edited model still draw?

    recall   = share of the base model's images y that lie in the neighbourhood of any image x
               of the edited model
    coverage = share of the base model's images y whose neighbourhood holds any image x of the
               edited model

(recall: Kynkaanniemi et al., NeurIPS 2019; coverage: Naeem et al., ICML 2020; with the base model's
images in the place of real ones). An image's *neighbourhood* is the ball around its feature row
that reaches to its k-th nearest neighbour among the images of the same model, k = 5. The base
model's own value is 1.

Samples are coupled: an image and its counterpart share prompt and random numbers, so they lie near
each other, and the value is above that of two independent samples of one model. For coverage that
is `details["independent"]` in the mean, for n images each 1 - (n - 1) ... (n - k) / ((2n - 1) ...
(2n - k)), about 1 - 2^-k (Naeem et al., appendix).

The interval is over the base model's prompts (Wilson, clustered), with neighbourhoods as they are:
a resample of images would repeat some and shrink their balls.

`details`: `k`; `dimensions`; of coverage `independent`.
"""

from __future__ import annotations

from dataclasses import dataclass, replace

import numpy as np

from varbench.data.groups import KEPT
from varbench.metrics.base import FRACTION, MetricInfo, MetricInputs, MetricValue
from varbench.metrics.estimates import PairedMetric, dropped_note, missing, paired_mean
from varbench.metrics.groups import Array, Flags, Floats, Pair, row_blocks

NEIGHBOURS = 5


@dataclass(frozen=True)
class Neighbourhoods(PairedMetric):
    """Share of the base model's images that the edited model still reaches.

    Attributes:
        info: the facts; it needs the one scorer whose `features` are compared.
        coverage: by the base model's neighbourhoods, otherwise (recall) by the edited model's.
    """

    info: MetricInfo
    coverage: bool = False

    def of_pair(self, pair: Pair, inputs: MetricInputs) -> MetricValue:
        """No value with k images or fewer."""
        (role,), n = self.info.needs, len(pair)
        if n <= NEIGHBOURS:
            return missing(f"{NEIGHBOURS} pictures or fewer have no neighbourhoods", n)
        ours, base = (side.array(role, "features") for side in (pair.method, pair.base))
        details: dict[str, object] = {"k": NEIGHBOURS, "dimensions": base.shape[1]}
        if self.coverage:
            hits = reached(base, squared_radii(base), ours)
            details["independent"] = independent_coverage(n, n)
        else:
            hits = within(base, ours, squared_radii(ours))
        own = np.ones_like(hits)  # an image is in its own neighbourhood
        clusters, note = pair.base.clusters, dropped_note(pair)
        return paired_mean(hits, own, clusters, details=details, note=note)


def squared_radii(rows: Array, k: int = NEIGHBOURS) -> Floats:
    """Squared distance of each row of [n, d] to its k-th nearest other row, [n]; n > k."""
    radii = np.empty(len(rows))
    for part in row_blocks(len(rows)):
        # Each row is its own nearest, at 0, or one of several equal ones.
        radii[part] = np.partition(squared_distances(rows[part], rows), k, axis=1)[:, k]
    return radii


def within(points: Array, centres: Array, squared: Floats) -> Flags:
    """[n] True where one of `points` [n, d] is in any neighbourhood of `centres` [m, d]."""
    inside = np.empty(len(points), dtype=np.bool_)
    for part in row_blocks(len(points)):
        inside[part] = (squared_distances(points[part], centres) <= squared).any(axis=1)
    return inside


def reached(centres: Array, squared: Floats, points: Array) -> Flags:
    """[n] True where any of `points` [m, d] is in the neighbourhood of one of `centres` [n, d]."""
    hit = np.empty(len(centres), dtype=np.bool_)
    for part in row_blocks(len(centres)):
        hit[part] = squared_distances(centres[part], points).min(axis=1) <= squared[part]
    return hit


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


def independent_coverage(n: int, m: int, k: int = NEIGHBOURS) -> float:
    """Expected coverage of `n` images by `m` others of the same distribution, all independent.

    Of the n - 1 + m other images in order of distance from an image, the k nearest of its own
    sample come first with chance C(n - 1, k) / C(n - 1 + m, k): then none of the m is nearer.
    """
    nearest = np.arange(n - k, n, dtype=np.float64)
    return float(1 - (nearest / (nearest + m)).prod())


RECALL = Neighbourhoods(MetricInfo(
    id="recall", title="Recall", better="up", unit=FRACTION, range=(0.0, 1.0), groups=KEPT,
    needs=("features",), citation="Kynkaanniemi et al. 2019, NeurIPS",
    definition="Share of the base model's images that lie among the method's, by features.",
))  # fmt: skip
RECALL_DINO = Neighbourhoods(replace(
    RECALL.info, id="recall_dino", title="Recall (DINOv2)", needs=("dino",),
    definition="Recall by DINOv2's features.",
))  # fmt: skip
COVERAGE = Neighbourhoods(MetricInfo(
    id="coverage", title="Coverage", better="up", unit=FRACTION, range=(0.0, 1.0), groups=KEPT,
    needs=("features",), citation="Naeem et al. 2020, ICML",
    definition="Share of the base model's images with one of the method's nearby, by features.",
), coverage=True)  # fmt: skip
COVERAGE_DINO = Neighbourhoods(replace(
    COVERAGE.info, id="coverage_dino", title="Coverage (DINOv2)", needs=("dino",),
    definition="Coverage by DINOv2's features.",
), coverage=True)  # fmt: skip
