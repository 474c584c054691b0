"""LD2: how much of its say the text still has.

    LD2 = TS_theta / TS_0,   TS = mean over prompts of mean over scales, tokens and symbols of
                                  (2 / V) * sum_v | log p(v | r, c) - log p(v | r, null) |

on the unerased model's roll-outs r of the `neighbours` and `unrelated` prompts c. For bits (V = 2)
the summand is |z(c) - z(null)| with the log-odds z, exactly: one log-probability rises where the
other falls. 1 = as before, below 1 the text is ignored, above 1 it is followed more strongly than
before. Ratio of means with a bootstrap over prompts; the difference is that to 1.

`details`: `strength`, `base_strength` = TS of both (log-odds, nats); `neighbours`, `unrelated` =
the ratio of each group; `scales` = the ratio per scale, coarse to fine.

Pitfalls. It measures how strongly the text moves predictions, not whether where it should: a
prompt that means something else keeps its strength (LD1 and LD3 see that). Guidance multiplies
this difference, so 0.9 here is what a tenth less guidance would do. Confident symbols have large
log-odds and weigh most. Methods that change sampling only have no value.
"""

from __future__ import annotations

import numpy as np

from varbench.metrics.base import KEPT, MetricInputs, MetricValue, Pair
from varbench.metrics.estimates import ONE_PROMPT, dropped_note, missing
from varbench.metrics.info import MetricInfo
from varbench.metrics.probing import by_scale, kept_prompts, over_scales
from varbench.metrics.stats.paired_samples import PairedSamples, estimate


class TextControl:
    """Strength of the text in the predictions, by that of the unerased model."""

    info = MetricInfo(
        id="ld2", title="LD2", better="same", unit="ratio", range=(0.0, None), digits=3,
        table="drift", groups=KEPT, needs=("probe",),
        citation="language drift: Ruiz et al. 2023, DreamBooth, CVPR; on logits: varbench",
        question="how strongly does the prompt still influence the predictions?",
        definition=(
            "Text control: how strongly the text moves the predictions, by how strongly it moves "
            "the unerased model's. Below 1 the text is ignored."
        ),
    )  # fmt: skip

    def compute(self, e: MetricInputs) -> MetricValue:
        """No value if nothing was probed, or if the unerased model ignores the text."""
        pair = kept_prompts(e)
        if isinstance(pair, MetricValue):
            return pair
        value = _ratio(pair)
        if value is None:
            return missing("the unerased model does not listen to the text", len(pair))
        details: dict[str, object] = {
            "strength": float(over_scales(pair.method, "strength").mean()),
            "base_strength": float(over_scales(pair.base, "strength").mean()),
        }
        for name in KEPT:
            part = e.probed(name)
            if len(part):
                details[name] = _ratio(part)
        scales = zip(
            by_scale(pair.method, "strength"), by_scale(pair.base, "strength"), strict=True
        )
        details["scales"] = [ours / base if base else None for ours, base in scales]
        rows = PairedSamples(
            "ratio",
            over_scales(pair.method, "strength"),
            over_scales(pair.base, "strength"),
            pair.base.clusters,
        )
        found, n = estimate([rows]), len(pair)
        if found is None:
            note = "; ".join(filter(None, [dropped_note(pair), ONE_PROMPT]))
            return MetricValue(value, None, None, n, 1.0, None, note, details, rows)
        low, high = found.value.low, found.value.high
        note = dropped_note(pair)
        return MetricValue(value, low, high, n, 1.0, found.difference, note, details, rows)


def _ratio(pair: Pair) -> float | None:
    base = float(np.mean(over_scales(pair.base, "strength")))
    return float(np.mean(over_scales(pair.method, "strength"))) / base if base else None
