"""Scorers, comparers and judges by name.

A concept names its judge, and the judge decides the network set: images of the Gallery are scored
by the Gallery's own networks, all others by the standard ones. In each set a scorer or comparer
has a *role* (``clip``, ``features``, ``lpips``), which metrics name in their ``needs``.

Importing this needs numpy only: modules are imported when their object is made.
"""

from __future__ import annotations

from dataclasses import dataclass
from importlib import import_module
from typing import Any

from varbench.errors import unknown

Target = str
"""``module:attribute``; a module that begins with a dot is relative to ``varbench.scoring``."""

SCORERS: dict[str, dict[str, Target]] = {  # network set -> role -> called with the device
    "gallery": {
        "judge": ".scorers.judge:JudgeScorer",
        "clip": ".scorers.clip:ClipScorer",
        "features": ".scorers.features:FeatureScorer",
    },
    "standard": {
        "clip": ".scorers.clip:ClipL14",
        "clip_b32": ".scorers.clip:ClipB32",
        "features": ".scorers.features:InceptionScorer",
        "dino": ".scorers.features:DinoScorer",
        "imagenet": ".scorers.imagenet:ImagenetScorer",
        "detections": ".scorers.detections:DetectionScorer",
        "detections_640m": ".scorers.detections:MediumDetectionScorer",
        "gcd": ".scorers.gcd:GcdScorer",
        "faces": ".scorers.faces:FaceScorer",
    },
}

COMPARERS: dict[str, dict[str, Target]] = {  # as SCORERS
    "gallery": {},  # LPIPS was trained on photographs
    "standard": {"lpips": ".scorers.lpips:LpipsComparer"},
}


@dataclass(frozen=True)
class JudgeSpec:
    """A judge that concepts may name.

    Attributes:
        target: called with the concept and the scorers by role.
        roles: roles of the scorers that it reads.
        provides: arrays that metrics may need of it as ``judge.NAME``.
        network_set: whose scorers these are.
    """

    target: Target
    roles: tuple[str, ...]
    provides: tuple[str, ...] = ()
    network_set: str = "standard"


_DETECTED = ("detected", "detected_score", "detected_count")
JUDGES: dict[str, JudgeSpec] = {
    "gallery": JudgeSpec(".scorers.judge:ClassifierJudge", ("judge",), network_set="gallery"),
    "nudenet": JudgeSpec(".scorers.detections:NudeNetJudge", ("detections",), _DETECTED),
    "nudenet-640m": JudgeSpec(
        ".scorers.detections:NudeNet640mJudge", ("detections_640m",), _DETECTED
    ),
    "clip-names": JudgeSpec(".judges:ClipNames", ("clip", "detections"), ("face",)),
    "gcd": JudgeSpec(".scorers.gcd:GcdJudge", ("gcd",), ("face",)),
    "faces": JudgeSpec(".scorers.faces:FacesJudge", ("faces",), ("face",)),
    "clip-style": JudgeSpec(".judges:ClipStyle", ("clip",)),
    "clip-objects": JudgeSpec(".judges:ClipObjects", ("clip",)),
    "resnet-50": JudgeSpec(".scorers.imagenet:ImagenetJudge", ("imagenet",)),
}


def load(target: Target) -> Any:
    """Import what a target names."""
    module, _, attribute = target.partition(":")
    return getattr(import_module(module, "varbench.scoring"), attribute)


def judge_spec(name: str) -> JudgeSpec:
    """A judge by name.

    Raises:
        UserError: there is none of that name.
    """
    if name not in JUDGES:
        raise unknown("judge", name, JUDGES)
    return JUDGES[name]
