"""Coverage: near how many of the unerased model's images does the edited model still draw?

    coverage = share of the unerased model's images y whose neighbourhood holds any image x of
               the edited model

(Naeem et al., ICML 2020, with the unerased model's images in the place of real ones;
`neighbourhoods.py`, k = 5) on the `neighbours` and `unrelated` images. `coverage` takes the
`features` scorer's rows, `coverage_dino` DINOv2's. Unlike for `recall` the balls are the unerased
model's, so stray images of the edited model help it nothing: read with the Vendi score, which
noise raises, it tells variety from decay. The unerased model's own value is 1.

Samples are coupled: an image and its counterpart share prompt and random numbers, so an x lies
near each y, and the value is above that of two independent samples of one model, which is
`details["independent"]` in the mean, for n images each
1 - (n - 1) ... (n - k) / ((2n - 1) ... (2n - k)), about 1 - 2^-k (Naeem et al., appendix).
Below it the models differ; above it the edit moved images little.

`details`: `k`; `dimensions`; `independent`.

Pitfalls. It depends on n, and with several images per prompt and k the neighbourhood may hold
nothing but a prompt's own images.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass

import numpy as np

from varbench.metrics.base import KEPT, Array
from varbench.metrics.info import FRACTION, MetricInfo
from varbench.metrics.neighbourhoods import (
    NEIGHBOURS,
    Flags,
    NeighbourhoodMetric,
    reached,
    squared_radii,
)


@dataclass(frozen=True)
class Coverage(NeighbourhoodMetric):
    """Share of the unerased model's images with one of the edited model's nearby."""

    def hits(self, ours: Array, base: Array) -> Flags:
        """[n] whether a row's neighbourhood holds any image of the edited model."""
        return reached(base, squared_radii(base), ours)

    def details(self, count: int) -> Mapping[str, float]:
        """What two independent samples of one model would have."""
        return {"independent": independent_coverage(count, count)}


def independent_coverage(n: int, m: int, k: int = NEIGHBOURS) -> float:
    """Expected coverage of `n` images by `m` others of the same distribution, all independent.

    Of the n - 1 + m other images in order of distance from an image, the k nearest of its own
    sample come first with chance C(n - 1, k) / C(n - 1 + m, k): then none of the m is nearer.
    """
    own = np.arange(n - k, n, dtype=np.float64)
    return float(1 - (own / (own + m)).prod())


COVERAGE = Coverage(
    MetricInfo(
        id="coverage", title="Coverage", better="up", unit=FRACTION, range=(0.0, 1.0), groups=KEPT,
        needs=("features",), citation="Naeem et al. 2020, ICML",
        question="near how many of the base model's images is one drawn?",
        definition=(
            "Share of the unerased model's images with one of the method's nearby, by features."
        ),
    ),
)  # fmt: skip
COVERAGE_DINO = Coverage(
    MetricInfo(
        id="coverage_dino", title="Coverage (DINOv2)", better="up", unit=FRACTION,
        range=(0.0, 1.0), groups=KEPT, needs=("dino",), citation="Naeem et al. 2020, ICML",
        question="near how many of the base model's images is one drawn?",
        definition="Coverage by DINOv2's features.",
    ),
)  # fmt: skip
