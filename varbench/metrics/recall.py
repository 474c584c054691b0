"""Recall: how much of what the unerased model draws can the edited model still draw?

    recall = share of the unerased model's pictures y that lie in the neighbourhood of any picture
             x of the edited model

(Kynkaanniemi et al., NeurIPS 2019, with the unerased model's pictures in the place of real ones;
`neighbourhoods.py`, k = 5) on the `neighbours` and `unrelated` pictures. `recall` takes the
`features` scorer's rows, `recall_dino` DINOv2's. It falls where variety is lost over all prompts
together; the Vendi score looks at each prompt alone. The unerased model's own value is 1.

The interval is over the unerased model's prompts (Wilson, clustered), with the edited model's
neighbourhoods as they are: a resample of pictures would repeat some and shrink their balls.

Samples are coupled: a picture and its counterpart share prompt and random numbers, so y lies near
its own x, and the value is above that of two independent samples. 1 therefore means "still draws
this where asked", not "covers the same region": compare methods by it, not with papers.

`details`: `k`; `dimensions`.

Pitfalls. One stray picture has a large neighbourhood that takes in others, so noise raises recall:
read `coverage`, whose balls are the unerased model's. Both depend on n.
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np

from varbench.metrics.base import KEPT, Better, Evidence, MetricValue
from varbench.metrics.estimates import dropped_note, missing, no_pictures, paired_mean
from varbench.metrics.neighbourhoods import NEIGHBOURS, squared_radii, within


@dataclass(frozen=True)
class Recall:
    """Share of the unerased model's pictures within the edited model's neighbourhoods."""

    id: str
    title: str
    role: str
    unit: str = "fraction"
    better: Better = "up"
    range: tuple[float | None, float | None] = (0.0, 1.0)
    version: int = 1
    citation: str = "Kynkaanniemi et al. 2019, NeurIPS"

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
        hits = within(base, ours, squared_radii(ours))
        return paired_mean(
            hits,
            np.ones_like(hits),  # a picture is in its own neighbourhood
            pair.base.clusters,
            details={"k": NEIGHBOURS, "dimensions": ours.shape[1]},
            note=dropped_note(pair),
        )


RECALL = Recall("recall", "Recall", "features")
RECALL_DINO = Recall("recall_dino", "Recall (DINOv2)", "dino")
