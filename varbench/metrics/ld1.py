"""LD1: how far the edit moved the model's predictions for prompts that are not the concept's.

    LD1 = mean over prompts c of mean over scales of mean over tokens and symbols of
          KL( p_0(. | r, c) || p_theta(. | r, c) ) / log2(V)

in nats per bit; r is the unerased model's roll-out of c (the `neighbours` and `unrelated` prompts,
sampled as its images are, guidance included), read by both models (teacher forcing); p are the
plain conditional predictions of V values per symbol. 0 for an edit that changes nothing; open at
the top. Bootstrap over prompts. Language drift is the word of few-shot fine-tuning (Ruiz et al.,
DreamBooth, CVPR 2023) for prompts that lose their meaning while others are trained.

`details`: `neighbours`, `unrelated` = the value of each group; `scales` = per scale, coarse to
fine; `null` = the same for the null condition (then what guidance subtracts has moved, too);
`flips` = mean total variation, the share of symbols that common random numbers would draw
differently from the plain predictions; `flips_scales` = the same per scale.

Pitfalls. It sees every change of a prediction, also one that no image shows: read it beside
`fid_base`. Confident wrong predictions weigh much, `flips` says how many there are. On the
unerased model's roll-outs the edited model's own history is never asked, so what adds up over
scales is missed. Methods that change sampling only have no value.
"""

from __future__ import annotations

from varbench.metrics.base import KEPT, MetricInputs, MetricValue
from varbench.metrics.estimates import dropped_note, paired_mean
from varbench.metrics.info import MetricInfo
from varbench.metrics.probing import by_scale, kept_prompts, over_scales


class PredictionDrift:
    """KL from the unerased model's predictions, per bit."""

    info = MetricInfo(
        id="ld1", title="LD1", better="down", unit="nats per bit", range=(0.0, None), digits=4,
        table="drift", groups=KEPT, needs=("probe",),
        citation="language drift: Ruiz et al. 2023, DreamBooth, CVPR; on logits: varbench",
        question="how far did the predictions move?",
        definition=(
            "Prediction drift: mean divergence of the edited model's predictions from the "
            "unerased model's, nats per bit, for prompts that must stay."
        ),
    )  # fmt: skip

    def compute(self, e: MetricInputs) -> MetricValue:
        """No value if nothing was probed, or if the method changes sampling only."""
        pair = kept_prompts(e)
        if isinstance(pair, MetricValue):
            return pair
        details: dict[str, object] = {}
        for name in KEPT:
            part = e.probed(name)
            if len(part):
                details[name] = float(over_scales(part.method, "kl").mean())
        details["scales"] = by_scale(pair.method, "kl")
        details["null"] = float(over_scales(pair.method, "kl_null").mean())
        details["flips"] = float(over_scales(pair.method, "flips").mean())
        details["flips_scales"] = by_scale(pair.method, "flips")
        return paired_mean(
            over_scales(pair.method, "kl"),
            over_scales(pair.base, "kl"),
            pair.base.clusters,
            details=details,
            note=dropped_note(pair),
        )
