"""Recall: how much of what the unerased model draws can the edited model still draw?

    recall = share of the unerased model's images y that lie in the neighbourhood of any image
             x of the edited model

(Kynkaanniemi et al., NeurIPS 2019, with the unerased model's images in the place of real ones;
`neighbourhoods.py`, k = 5) on the `neighbours` and `unrelated` images. `recall` takes the
`features` scorer's rows, `recall_dino` DINOv2's. It falls where variety is lost over all prompts
together; the Vendi score looks at each prompt alone. The unerased model's own value is 1.

Samples are coupled: an image and its counterpart share prompt and random numbers, so y lies near
its own x, and the value is above that of two independent samples. 1 therefore means "still draws
this where asked", not "covers the same region": compare methods by it, not with papers.

`details`: `k`; `dimensions`.

Pitfalls. One stray image has a large neighbourhood that takes in others, so noise raises recall:
read `coverage`, whose balls are the unerased model's. Both depend on n.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass

from varbench.metrics.base import KEPT, Array
from varbench.metrics.info import FRACTION, MetricInfo
from varbench.metrics.neighbourhoods import Flags, NeighbourhoodMetric, squared_radii, within


@dataclass(frozen=True)
class Recall(NeighbourhoodMetric):
    """Share of the unerased model's images within the edited model's neighbourhoods."""

    def hits(self, ours: Array, base: Array) -> Flags:
        """[n] whether a row is in any neighbourhood of the edited model."""
        return within(base, ours, squared_radii(ours))

    def details(self, count: int) -> Mapping[str, float]:
        """Nothing besides."""
        return {}


RECALL = Recall(
    MetricInfo(
        id="recall", title="Recall", better="up", unit=FRACTION, range=(0.0, 1.0), groups=KEPT,
        needs=("features",), citation="Kynkaanniemi et al. 2019, NeurIPS",
        question="how much of what the base model draws is still drawn?",
        definition="Share of the unerased model's images that lie among the method's, by features.",
    ),
)  # fmt: skip
RECALL_DINO = Recall(
    MetricInfo(
        id="recall_dino", title="Recall (DINOv2)", better="up", unit=FRACTION, range=(0.0, 1.0),
        groups=KEPT, needs=("dino",), citation="Kynkaanniemi et al. 2019, NeurIPS",
        question="how much of what the base model draws is still drawn?",
        definition="Recall by DINOv2's features.",
    ),
)  # fmt: skip
