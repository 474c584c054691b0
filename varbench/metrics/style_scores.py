"""CLIP_e, CLIP_s and H_a: does the artist's image still fit its prompt, and do the others'?

    CLIP_e = CLIP score of the `target` images with their prompts (erased; less is better)
    CLIP_s = CLIP score of the `neighbours` images with theirs (spared; more is better)
    H_a    = CLIP_s - CLIP_e

the measures of MACE for artists' styles (Lu et al., CVPR 2024, section 4.4), with CLIP ViT-B/32 and
the CLIP score 100 max(cos, 0), mean over prompts of the mean over images. The neighbours of a
style are other artists. Bootstrap over prompts, paired difference to the unerased model. H_a is
that of two groups of different prompts, whose intervals are added as squares (Zou and Donner 2008,
Stat. Med. 27:1693); `details` holds `clip_e` and `clip_s` with `base_` twins.

Pitfalls. A prompt has a subject besides its artist, and CLIP rewards that too: the unerased model's
H_a is near 0, not the floor of CLIP_e. An image without its subject lowers CLIP_e as well as one
without its style. A CLIP score saturates: one point is a large loss.
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np

from varbench.metrics.base import Array, MetricInputs, MetricValue, Pair, ScoredImages
from varbench.metrics.estimates import (
    ONE_PROMPT,
    dropped_note,
    no_images,
    paired_mean,
    prompt_mean,
)
from varbench.metrics.info import MetricInfo
from varbench.metrics.stats.intervals import Interval
from varbench.metrics.stats.paired_samples import PairedSamples, estimate

ERASED, SPARED = "target", "neighbours"


@dataclass(frozen=True)
class StyleScore:
    """CLIP score of one prompt group, by ViT-B/32."""

    info: MetricInfo

    def compute(self, e: MetricInputs) -> MetricValue:
        """No value only if there are no images of the group."""
        pair = e.pair(*self.info.groups)
        if not len(pair):
            return no_images(self.info.groups)
        ours, base = _scores(pair.method), _scores(pair.base)
        return paired_mean(ours, base, pair.base.clusters, note=dropped_note(pair))


class StyleMargin:
    """CLIP_s - CLIP_e."""

    info = MetricInfo(
        id="h_a", title="H_a", better="up", unit="100 cos", range=(-100.0, 100.0),
        groups=("target", "neighbours"), needs=("clip_b32",),
        citation="Lu et al. 2024, MACE, CVPR",
        question="is the artist erased and are the others spared?",
        definition="CLIP_s − CLIP_e (MACE).",
    )  # fmt: skip

    def compute(self, e: MetricInputs) -> MetricValue:
        """No value if one of the groups has no images."""
        pairs = [e.pair(ERASED), e.pair(SPARED)]
        for name, pair in zip((ERASED, SPARED), pairs, strict=True):
            if not len(pair):
                return no_images((name,))
        rows_e, rows_s = map(_rows, pairs)
        details = {
            "clip_e": prompt_mean(rows_e.method, rows_e.clusters),
            "clip_s": prompt_mean(rows_s.method, rows_s.clusters),
            "base_clip_e": prompt_mean(rows_e.base, rows_e.clusters),
            "base_clip_s": prompt_mean(rows_s.base, rows_s.clusters),
        }
        value = details["clip_s"] - details["clip_e"]
        baseline = details["base_clip_s"] - details["base_clip_e"]
        n, note = sum(map(len, pairs)), "; ".join(filter(None, map(dropped_note, pairs)))
        erased, spared = estimate([rows_e]), estimate([rows_s])
        if erased is None or spared is None:
            joined = "; ".join(filter(None, [note, ONE_PROMPT]))
            return MetricValue(value, None, None, n, baseline, None, joined, details)
        found = _minus(spared.value, erased.value)
        difference = _minus(spared.difference, erased.difference)
        return MetricValue(value, found.low, found.high, n, baseline, difference, note, details)


CLIP_E = StyleScore(
    MetricInfo(
        id="clip_e", title="CLIP_e", better="down", unit="100 cos", range=(0.0, 100.0),
        groups=("target",), needs=("clip_b32",), citation="Lu et al. 2024, MACE, CVPR",
        question="do the erased artist's images still fit their prompts?",
        definition="CLIP score (ViT-B/32) of the concept's images with their prompts.",
    ),
)  # fmt: skip
CLIP_S = StyleScore(
    MetricInfo(
        id="clip_s", title="CLIP_s", better="up", unit="100 cos", range=(0.0, 100.0),
        groups=("neighbours",), needs=("clip_b32",), citation="Lu et al. 2024, MACE, CVPR",
        question="do other artists' images still fit their prompts?",
        definition="CLIP score (ViT-B/32) of the neighbours' images with their prompts.",
    ),
)  # fmt: skip


def _minus(a: Interval, b: Interval) -> Interval:
    """The difference of two groups' values, their intervals added as squares."""
    value = a.value - b.value
    low = value - np.hypot(a.value - a.low, b.high - b.value)
    high = value + np.hypot(a.high - a.value, b.value - b.low)
    return Interval(value, float(low), float(high), a.n + b.n, a.clusters + b.clusters)


def _rows(pair: Pair) -> PairedSamples:
    return PairedSamples("mean", _scores(pair.method), _scores(pair.base), pair.base.clusters)


def _scores(group: ScoredImages) -> Array:
    cosine = np.asarray(group.array("clip_b32", "cosine"), dtype=np.float64)
    return 100 * cosine.clip(min=0)
