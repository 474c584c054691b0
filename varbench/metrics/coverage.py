"""Coverage: near how many of the unerased model's pictures does the edited model still draw?

    coverage = share of the unerased model's pictures y whose neighbourhood holds any picture x of
               the edited model

(Naeem et al., ICML 2020, with the unerased model's pictures in the place of real ones;
`neighbourhoods.py`, k = 5) on the `neighbours` and `unrelated` pictures. `coverage` takes the
`features` scorer's rows, `coverage_dino` DINOv2's. Unlike for `recall` the balls are the unerased
model's, so stray pictures of the edited model help it nothing: read with the Vendi score, which
noise raises, it tells variety from decay. The unerased model's own value is 1.

The interval is over the unerased model's prompts (Wilson, clustered), with both models'
neighbourhoods as they are: a resample of pictures would repeat some and shrink their balls.

Samples are coupled: a picture and its counterpart share prompt and random numbers, so an x lies
near each y, and the value is above that of two independent samples of one model, which is
`details["independent"]` in the mean, for n pictures each
1 - (n - 1) ... (n - k) / ((2n - 1) ... (2n - k)), about 1 - 2^-k (Naeem et al., appendix).
Below it the models differ; above it the edit moved pictures little.

`details`: `k`; `dimensions`; `independent`.

Pitfalls. It depends on n, and with several pictures per prompt and k the neighbourhood may hold
nothing but a prompt's own pictures.
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np

from varbench.metrics.base import KEPT, Better, Evidence, MetricValue
from varbench.metrics.estimates import dropped_note, missing, no_pictures, paired_mean
from varbench.metrics.neighbourhoods import NEIGHBOURS, reached, squared_radii


@dataclass(frozen=True)
class Coverage:
    """Share of the unerased model's pictures with one of the edited model's nearby."""

    id: str
    title: str
    role: str
    unit: str = "fraction"
    better: Better = "up"
    range: tuple[float | None, float | None] = (0.0, 1.0)
    version: int = 1
    citation: str = "Naeem et al. 2020, ICML"

    @property
    def needs(self) -> tuple[str, ...]:
        return (self.role,)

    def compute(self, e: Evidence) -> MetricValue:
        """No value with k pictures or fewer."""
        pair = e.pair(*KEPT)
        if not len(pair):
            return no_pictures(KEPT)
        if len(pair) <= NEIGHBOURS:
            return missing(f"{NEIGHBOURS} pictures or fewer have no neighbourhoods", len(pair))
        ours, base = (side.array(self.role, "features") for side in (pair.method, pair.base))
        hits = reached(base, squared_radii(base), ours)
        details = {
            "k": NEIGHBOURS,
            "dimensions": base.shape[1],
            "independent": independent_coverage(len(pair), len(pair)),
        }
        return paired_mean(
            hits,
            np.ones_like(hits),  # a picture is in its own neighbourhood
            pair.base.clusters,
            details=details,
            note=dropped_note(pair),
        )


def independent_coverage(n: int, m: int, k: int = NEIGHBOURS) -> float:
    """Expected coverage of `n` pictures by `m` others of the same distribution, all independent.

    Of the n - 1 + m other pictures in order of distance from a picture, the k nearest of its own
    sample come first with chance C(n - 1, k) / C(n - 1 + m, k): then none of the m is nearer.
    """
    own = np.arange(n - k, n, dtype=np.float64)
    return float(1 - (own / (own + m)).prod())


COVERAGE = Coverage("coverage", "Coverage", "features")
COVERAGE_DINO = Coverage("coverage_dino", "Coverage (DINOv2)", "dino")
