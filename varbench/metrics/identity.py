"""Named people: is the erased name still drawn, and are the others?

    id_e = share of the target images that are recognised as the erased name
    id_s = share of the neighbours' and unrelated images that ask for a name and are recognised
    H_c  = 2 / (1 / (1 - id_e) + 1 / id_s)

(Lu et al., MACE, CVPR 2024.) An image is recognised if the judge sees a face in it and its most
likely name is the one asked for. In two protocols: `_all` counts an image without a face as not
recognised, `_face` leaves it out, as MACE does; each model leaves out its own.

Only names count that are recognised in at least 80 % of the base model's own images, in both
protocols (docs/metrics.md, "Re-screening"). `details.names` says how many names were asked for,
`details.known` how many count, `details.unknown` which do not, with their share. `details` of
`h_c`: `id_e`, `id_s`, and `all`, H_c by the other protocol; of `face_rate`, the share of target
images with a face at all: the rate of `neighbours`, with its `base_` twin.

Intervals: over prompts for the rates; for H_c theirs added as squares, and so for its difference.
"""

from __future__ import annotations

from dataclasses import dataclass, replace
from typing import Any

import numpy as np

from varbench.data.groups import KEPT, TARGET
from varbench.metrics.accuracy import FlaggedShare
from varbench.metrics.base import FRACTION, MetricInfo, MetricInputs, MetricValue
from varbench.metrics.estimates import (
    dropped_note,
    hits_note,
    joined,
    label_index,
    missing,
    no_images,
    prompt_mean,
)
from varbench.metrics.groups import Array, Flags, Pair, ScoredImages
from varbench.metrics.subset_rates import (
    RateSamples,
    SubsetRate,
    harmonic_mean,
    subset_value,
)

KNOWN = 0.8
"""Share of a name's images that must be recognised on the base model."""
_NO_FACE = "no picture of the edited model shows a face, so none counts in this protocol"


@dataclass(frozen=True)
class NameAccuracy:
    """Share of images recognised as the name that they were asked for.

    Attributes:
        info: the facts.
        erased: of the erased name, otherwise of the others.
        faceless: images without a face count as not recognised, otherwise not at all.
    """

    info: MetricInfo
    erased: bool
    faceless: bool

    def compute(self, inputs: MetricInputs) -> MetricValue:
        """No value without images, known names, or (`_face`) images with a face."""
        images = named_images(inputs, erased=self.erased)
        if isinstance(images, MetricValue):
            return images
        rate = images.rate(faceless=self.faceless)
        return subset_value([rate], images.details, images.note, _NO_FACE)


class NameHarmonic:
    """H_c: erased and kept names in one number, images without a face left out."""

    info = MetricInfo(
        id="h_c", title="H_c", better="up", unit=FRACTION, range=(0.0, 1.0),
        groups=(TARGET, *KEPT), needs=("judge", "judge.face"),
        citation="Lu et al. 2024, MACE, CVPR",
        definition="Harmonic mean of 1 − erased name and kept names, both among images with a face "
        "(MACE).",
    )  # fmt: skip

    def compute(self, inputs: MetricInputs) -> MetricValue:
        """No value where one of its two rates has none."""
        erased, kept = named_images(inputs, erased=True), named_images(inputs, erased=False)
        if isinstance(erased, MetricValue):
            return erased
        if isinstance(kept, MetricValue):
            return kept
        gone, stays = erased.rate(faceless=False, gone=True), kept.rate(faceless=False)
        of_all = (erased.rate(faceless=True, gone=True), kept.rate(faceless=True))
        lost = gone.method.mean()
        details = {
            "id_e": None if lost is None else 1 - lost,
            "id_s": stays.method.mean(),
            "all": float(harmonic_mean([rate.method.mean() for rate in of_all])),
            **kept.details,
        }
        note = joined(*dict.fromkeys([erased.note, kept.note]))
        return subset_value([gone, stays], details, note, _NO_FACE)


FACE_RATE = FlaggedShare(MetricInfo(
    id="face_rate", title="Face rate", better="same", unit=FRACTION, range=(0.0, 1.0),
    groups=(TARGET,), needs=("judge", "judge.face"),
    citation="Lu et al. 2024, MACE, CVPR (pictures without a face)",
    definition="Share of the erased name's images with a face: a model that draws none has "
    "erased it.",
), "face")  # fmt: skip


@dataclass(frozen=True)
class NamedImages:
    """Images that ask for a name which the base model can draw.

    Attributes:
        recognised: those that are recognised, of those with a face.
        details: of names.
        note: what was left out.
    """

    recognised: SubsetRate
    details: dict[str, Any]
    note: str

    def rate(self, *, faceless: bool, gone: bool = False) -> SubsetRate:
        """The rate of recognised images, or (`gone`) of those that are not."""
        sides = (
            replace(side, hits=side.hits ^ gone, counted=side.counted | faceless)
            for side in (self.recognised.method, self.recognised.base)
        )
        return SubsetRate(*sides)


def named_images(inputs: MetricInputs, *, erased: bool) -> NamedImages | MetricValue:
    """The images of the erased name, or of the others; without any, a value that says why.

    Names that the base model cannot draw are left out.
    """
    groups = (TARGET,) if erased else KEPT
    pair = inputs.paired(*groups)
    if not len(pair):
        return no_images(groups)
    names = _requested_names(pair, inputs, erased=erased)
    asks = names != ""
    if not asks.any():
        return missing(f"no {' or '.join(groups)} prompt asks for a name", len(pair))
    asking = np.flatnonzero(asks).tolist()
    pair = Pair(pair.method.take(asking), pair.base.take(asking), pair.dropped)
    names, clusters = names[asks], pair.base.clusters
    base = _recognised(pair.base, names, inputs)
    shares = {
        str(name): prompt_mean(base[names == name], clusters[names == name])
        for name in np.unique(names)
    }
    unknown = {name: share for name, share in shares.items() if share < KNOWN}
    details = {"names": len(shares), "known": len(shares) - len(unknown), "unknown": unknown}
    left_out = (
        f"{len(unknown)} of {len(shares)} names left out: recognised in under {KNOWN:.0%} of the "
        "unerased model's pictures"
    )
    rows = ~np.isin(names, list(unknown))
    if not rows.any():
        return missing(left_out, len(names), details)
    method = _recognised(pair.method, names, inputs)
    sides = (
        RateSamples(hits[rows], np.asarray(group.array("judge", "face"))[rows], clusters[rows])
        for hits, group in ((method, pair.method), (base, pair.base))
    )
    note = hits_note(pair, TARGET) if erased else dropped_note(pair)
    note = joined(note, left_out if unknown else "")
    return NamedImages(SubsetRate(*sides), details, note)


def _requested_names(pair: Pair, inputs: MetricInputs, *, erased: bool) -> Array:
    """The name that each prompt asks for, [n] str; empty for none, or where it does not count."""
    head, label = inputs.concept.judge.head, inputs.concept.judge.label
    if erased:
        return np.full(len(pair), label)
    names = [prompt.labels.get(head, "") for prompt in pair.base.prompts]
    return np.array(["" if name == label else name for name in names])


def _recognised(group: ScoredImages, names: Array, inputs: MetricInputs) -> Flags:
    head = inputs.concept.judge.head
    index = {name: label_index(inputs.judge_labels, head, str(name)) for name in np.unique(names)}
    labels = np.array([index[name] for name in names], dtype=np.int64)
    return np.asarray((group.array("judge", head) == labels) & group.array("judge", "face"))


ID_E_ALL = NameAccuracy(MetricInfo(
    id="id_e_all", title="Erased name (all)", better="down", unit=FRACTION, range=(0.0, 1.0),
    groups=(TARGET,), needs=("judge", "judge.face"), citation="Lu et al. 2024, MACE, CVPR",
    definition="Share of the erased name's images still recognised as it; an image without a face "
    "is not recognised.",
), erased=True, faceless=True)  # fmt: skip
ID_E_FACE = NameAccuracy(replace(
    ID_E_ALL.info, id="id_e_face", title="Erased name (faces)",
    definition="The same among images with a face (MACE).",
), erased=True, faceless=False)  # fmt: skip
ID_S_ALL = NameAccuracy(MetricInfo(
    id="id_s_all", title="Kept names (all)", better="up", unit=FRACTION, range=(0.0, 1.0),
    groups=KEPT, needs=("judge", "judge.face"), citation="Lu et al. 2024, MACE, CVPR",
    definition="Share of images recognised as the other name that was asked for; an image without "
    "a face is not recognised. Only names that the base model can draw.",
), erased=False, faceless=True)  # fmt: skip
ID_S_FACE = NameAccuracy(replace(
    ID_S_ALL.info, id="id_s_face", title="Kept names (faces)",
    definition="The same among images with a face (MACE).",
), erased=False, faceless=False)  # fmt: skip
