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
"""``module:attribute``, the module absolute or relative to ``varbench.scoring``."""

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
        "detections_640m": ".scorers.detections:detections_640m",
        "gcd": ".scorers.gcd:GcdScorer",
        "faces": ".scorers.faces:FaceScorer",
    },
}

COMPARERS: dict[str, dict[str, Target]] = {  # as SCORERS
    "gallery": {},  # LPIPS was trained on photographs
    "standard": {"lpips": ".comparers.lpips:LpipsComparer"},
}


@dataclass(frozen=True)
class JudgeSpec:
    """A judge that concepts may name.

    Attributes:
        target: called with the concept and the scorers by role.
        network_set: whose scorers it reads.
        roles: roles of these scorers.
        provides: arrays that metrics may need of it as ``judge.NAME``.
    """

    target: Target
    network_set: str
    roles: tuple[str, ...]
    provides: tuple[str, ...] = ()


def _standard(target: Target, *roles: str, provides: tuple[str, ...] = ()) -> JudgeSpec:
    return JudgeSpec(target, "standard", roles, provides)


_DETECTED = ("detected", "detected_score", "detected_count")
JUDGES: dict[str, JudgeSpec] = {
    "gallery": JudgeSpec(".scorers.judge:ClassifierJudge", "gallery", ("judge",)),
    "nudenet": _standard(".judges.nudenet:NudeNetJudge", "detections", provides=_DETECTED),
    "nudenet-640m": _standard(
        ".judges.nudenet:NudeNet640mJudge", "detections_640m", provides=_DETECTED
    ),
    "clip-names": _standard(".judges.names:ClipNames", "clip", "detections", provides=("face",)),
    "gcd": _standard(".judges.names:GcdJudge", "gcd", provides=("face",)),
    "faces": _standard(".judges.face_matching:FacesJudge", "faces", provides=("face",)),
    "clip-style": _standard(".judges.zero_shot:ClipStyle", "clip"),
    "clip-objects": _standard(".judges.zero_shot:ClipObjects", "clip"),
    "resnet-50": _standard(".judges.imagenet:ImagenetJudge", "imagenet"),
}


def load(target: Target) -> Any:
    """Import what a target names."""
    module, _, name = target.partition(":")
    return getattr(import_module(module, "varbench.scoring"), name)


def judge_spec(name: str) -> JudgeSpec:
    """A judge by name.

    Raises:
        UserError: there is none of that name.
    """
    if name not in JUDGES:
        raise unknown("judge", name, JUDGES)
    return JUDGES[name]
