"""LD1, LD2 and entropy: how the edit changed the model's own predictions (the probe).

The stage `probe` asks both models for their plain conditional predictions p of V values per symbol
on the same roll-outs r of the `neighbours` and `unrelated` prompts c (teacher forcing). LD1 and LD2
read the base model's roll-outs, sampled as its images are, guidance included; entropy reads each
model's OWN, with common random numbers. The probe's arrays are [n, scales], row i one prompt.

    LD1 = mean over prompts of mean over scales of mean over tokens and symbols of
          KL( p_0(. | r, c) || p_theta(. | r, c) ) / log2(V), in nats per bit
    LD2 = TS_theta / TS_0,  TS = the same means of
          (2 / V) * sum_v | log p(v | r, c) - log p(v | r, null) |
    H   = the same means of -sum_v p(v | r, c) log p(v | r, c) / log V

Each scale weighs the same: weighed by tokens, the last scale alone would decide (39 % of the tokens
at 1024 pixels) and with it texture, where composition is decided by the first. Methods that change
sampling only have no value: they change no prediction, and on their roll-outs p is not what is
drawn from.

`details` of LD1: `neighbours`, `unrelated` = the value of each group; `scales` = per scale, coarse
to fine; `null` = the same for the null condition; `flips` = mean total variation, the share of
symbols that common random numbers would draw differently; `flips_scales` = the same per scale. Of
LD2, a ratio of means whose difference is that to 1: `strength`, `base_strength` = TS of both
(log-odds, nats); `neighbours`, `unrelated`, `scales`. Of entropy: `loss` = 1 - H / H_base; `ratio`
= H / H_base with interval; `scales`, `base_scales`.
"""

from __future__ import annotations

import numpy as np

from varbench.data.groups import KEPT
from varbench.metrics.base import PROBE, MetricInfo, MetricInputs, MetricValue
from varbench.metrics.estimates import (
    PairedMetric,
    dropped_note,
    missing,
    paired_mean,
    ratio,
    sampled_value,
)
from varbench.metrics.groups import Floats, Pair, ScoredImages
from varbench.metrics.stats import PairedSamples


class _ProbeMetric(PairedMetric):
    """A metric of probed prompts in place of images."""

    def compute(self, inputs: MetricInputs) -> MetricValue:
        """No value if nothing was probed, or if the method changes sampling only."""
        pair = inputs.probed(*self.info.groups)
        if len(pair):
            return self.of_pair(pair, inputs)
        why = "nothing was probed: set suite.probe.prompts"
        if inputs.base_probe and not inputs.method_probe:
            why = "not applicable: this method changes how is sampled, not what the model predicts"
        return missing(why)


class PredictionDrift(_ProbeMetric):
    """KL from the base model's predictions, per bit."""

    info = MetricInfo(
        id="ld1", title="LD1", better="down", unit="nats per bit", range=(0.0, None), digits=4,
        table="drift", groups=KEPT, needs=(PROBE,),
        citation="language drift: Ruiz et al. 2023, DreamBooth, CVPR; on logits: varbench",
        definition="Prediction drift: mean divergence of the edited model's predictions from the "
        "base model's, nats per bit, for prompts that must stay.",
    )  # fmt: skip

    def of_pair(self, pair: Pair, inputs: MetricInputs) -> MetricValue:
        parts = {name: inputs.probed(name).method for name in KEPT}
        details: dict[str, object] = {
            **{
                name: float(_per_prompt(part, "kl").mean())
                for name, part in parts.items()
                if len(part)
            },
            "scales": _by_scale(pair.method, "kl"),
            "null": float(_per_prompt(pair.method, "kl_null").mean()),
            "flips": float(_per_prompt(pair.method, "flips").mean()),
            "flips_scales": _by_scale(pair.method, "flips"),
        }
        return _mean(pair, "kl", details)


class TextControl(_ProbeMetric):
    """Strength of the text in the predictions, by that of the base model."""

    info = MetricInfo(
        id="ld2", title="LD2", better="same", unit="ratio", range=(0.0, None), digits=3,
        table="drift", groups=KEPT, needs=(PROBE,),
        citation="language drift: Ruiz et al. 2023, DreamBooth, CVPR; on logits: varbench",
        definition="Text control: how strongly the text moves the predictions, by how strongly it "
        "moves the base model's. Below 1 the text is ignored.",
    )  # fmt: skip

    def of_pair(self, pair: Pair, inputs: MetricInputs) -> MetricValue:
        """No value if the base model ignores the text."""
        value = _strength_ratio(pair)
        if value is None:
            return missing("the unerased model does not listen to the text", len(pair))
        ours, base = (_per_prompt(side, "strength") for side in (pair.method, pair.base))
        parts = {name: inputs.probed(name) for name in KEPT}
        by_scales = (_by_scale(side, "strength") for side in (pair.method, pair.base))
        details: dict[str, object] = {
            "strength": float(ours.mean()),
            "base_strength": float(base.mean()),
            **{name: _strength_ratio(part) for name, part in parts.items() if len(part)},
            "scales": [a / b if b else None for a, b in zip(*by_scales, strict=True)],
        }
        samples = PairedSamples("ratio", ours, base, pair.base.clusters)
        return sampled_value(samples, len(pair), dropped_note(pair), details)


class Entropy(_ProbeMetric):
    """Mean entropy of a symbol on the model's own roll-outs, as a share of the largest."""

    info = MetricInfo(
        id="entropy", title="Entropy", better="same", unit="bits per bit", range=(0.0, 1.0),
        digits=3, table="drift", groups=KEPT, needs=(PROBE,),
        citation="Shannon 1948; as a measure of collapse: varbench",
        definition="How undecided the model is about a bit it draws, 0 to 1. Less than the base "
        "model: collapse; more: decay.",
    )  # fmt: skip

    def of_pair(self, pair: Pair, inputs: MetricInputs) -> MetricValue:
        ours, base = _per_prompt(pair.method, "entropy"), _per_prompt(pair.base, "entropy")
        details: dict[str, object] = {
            "loss": float(1 - ours.mean() / base.mean()) if base.mean() > 0 else None,
            "ratio": ratio(ours, base, pair.base.clusters),
            "scales": _by_scale(pair.method, "entropy"),
            "base_scales": _by_scale(pair.base, "entropy"),
        }
        return _mean(pair, "entropy", details)


def _per_prompt(group: ScoredImages, name: str) -> Floats:
    """One number per prompt [n]: the mean over scales of a probe array."""
    rows: Floats = np.asarray(group.array(PROBE, name), dtype=np.float64).mean(axis=1)
    return rows


def _by_scale(group: ScoredImages, name: str) -> list[float]:
    """Mean over prompts per scale, coarse to fine, ready for JSON."""
    means: list[float] = np.asarray(group.array(PROBE, name), np.float64).mean(axis=0).tolist()
    return means


def _mean(pair: Pair, name: str, details: dict[str, object]) -> MetricValue:
    ours, base = _per_prompt(pair.method, name), _per_prompt(pair.base, name)
    return paired_mean(ours, base, pair.base.clusters, details=details, note=dropped_note(pair))


def _strength_ratio(pair: Pair) -> float | None:
    base = float(np.mean(_per_prompt(pair.base, "strength")))
    return float(np.mean(_per_prompt(pair.method, "strength"))) / base if base else None
