"""Entropy: how undecided the model is while it draws, the early sign of collapse or decay.

    H = mean over prompts c of mean over scales, tokens and symbols of
        -sum_v p(v | r, c) log p(v | r, c) / log V

between 0 (every symbol is certain) and 1 (every symbol is a fair draw), on the `neighbours` and
`unrelated` prompts; r is each model's OWN roll-out of c, sampled as its images are (guidance
included) with common random numbers, p its plain conditional prediction on r. Bootstrap over
prompts, paired difference to the unerased model.

`details`: `loss` = 1 - H / H_base: above 0 the draws lost their diversity (mode collapse), below 0
they gained entropy, which together with a worse FID is decay; `ratio` = H / H_base with interval;
`scales`, `base_scales` = per scale, coarse to fine: the first decide composition, the last texture.

Pitfalls. Neither end is good: the best value is the unerased model's. Sampling is sharper than p
(guidance, temperature, top-p), so H is no entropy of the images. One image seed per prompt:
that different seeds give the same image is seen by `vendi`, not here. Methods that change
sampling only have no value: on their roll-outs p is not what is drawn from.
"""

from __future__ import annotations

from varbench.metrics.base import KEPT, MetricInputs, MetricValue
from varbench.metrics.estimates import dropped_note, paired_mean, ratio
from varbench.metrics.info import MetricInfo
from varbench.metrics.probing import by_scale, kept_prompts, over_scales


class Entropy:
    """Mean entropy of a symbol on the model's own roll-outs, as a share of the largest."""

    info = MetricInfo(
        id="entropy", title="Entropy", better="same", unit="bits per bit", range=(0.0, 1.0),
        digits=3, table="drift", groups=KEPT, needs=("probe",),
        citation="Shannon 1948; as a measure of collapse: varbench",
        question="how undecided is the model while it draws?",
        definition=(
            "How undecided the model is about a bit it draws, 0 to 1. Less than the unerased "
            "model: collapse; more: decay."
        ),
    )  # fmt: skip

    def compute(self, e: MetricInputs) -> MetricValue:
        """No value if nothing was probed, or if the method changes sampling only."""
        pair = kept_prompts(e)
        if isinstance(pair, MetricValue):
            return pair
        ours, base = over_scales(pair.method, "entropy"), over_scales(pair.base, "entropy")
        clusters = pair.base.clusters
        details = {
            "loss": float(1 - ours.mean() / base.mean()) if base.mean() > 0 else None,
            "ratio": ratio(ours, base, clusters),
            "scales": by_scale(pair.method, "entropy"),
            "base_scales": by_scale(pair.base, "entropy"),
        }
        return paired_mean(ours, base, clusters, details=details, note=dropped_note(pair))
