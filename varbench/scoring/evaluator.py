"""What looks at the images of a concept: scorers by role, one judge, and the metrics they allow.

A concept names its judge, and the judge decides the set of instruments: images of the Gallery are
looked at by the Gallery's own networks, all others by the standard ones. A *scorer* plays a *role*
(``clip``, ``features``) and stores arrays, image by image; a *comparer* (``lpips``) sees two
images at once. A *judge* says which label of each head is seen; it looks at no image itself but
reads what scorers stored, so that another judge of the same scores costs nothing.

A metric's ``needs`` name roles, ``judge``, ``judge.NAME`` for what only some judges give, and what
only the model itself gives: ``probe``, ``completion``, ``attack``. It is computed for a concept if
its needs are there; only scorers that are needed run.

Importing this needs numpy only: modules of scorers and judges are loaded when they are made.
"""

from __future__ import annotations

from collections.abc import Collection, Mapping, Sequence
from dataclasses import dataclass, field, replace
from functools import cached_property
from importlib import import_module
from typing import Any

from varbench.data.concept import Concept
from varbench.errors import UserError, unknown
from varbench.metrics.base import OF_MODEL, Judge, Metric, ReferringJudge, ScoredImages, Scorer
from varbench.scoring.comparers import Comparer

Place = tuple[str, str]
"""Module, and the name of a class or function in it."""

SCORERS: dict[str, dict[str, Place]] = {  # set -> role -> called with the device
    "gallery": {
        "judge": ("varbench.scoring.scorers.judge", "JudgeScorer"),
        "clip": ("varbench.scoring.scorers.clip", "ClipScorer"),
        "features": ("varbench.scoring.scorers.features", "FeatureScorer"),
    },
    "standard": {
        "clip": ("varbench.scoring.scorers.standard_clip", "ClipL14"),
        "clip_b32": ("varbench.scoring.scorers.standard_clip", "ClipB32"),
        "features": ("varbench.scoring.scorers.standard_features", "InceptionScorer"),
        "dino": ("varbench.scoring.scorers.standard_features", "DinoScorer"),
        "imagenet": ("varbench.scoring.scorers.imagenet", "ImagenetScorer"),
        "detections": ("varbench.scoring.scorers.detections", "DetectionScorer"),
        "detections_640m": ("varbench.scoring.scorers.detections", "detections_640m"),
        "gcd": ("varbench.scoring.scorers.gcd", "GcdScorer"),
        "faces": ("varbench.scoring.scorers.faces", "FaceScorer"),
    },
}

COMPARERS: dict[str, dict[str, Place]] = {  # as SCORERS, of what looks at two images at once
    "gallery": {},  # LPIPS knows photographs
    "standard": {"lpips": ("varbench.scoring.comparers.lpips", "LpipsComparer")},
}


@dataclass(frozen=True)
class JudgeSpec:
    """A judge that concepts may name.

    Attributes:
        place: called with the concept and the scorers by role.
        set: of instruments.
        reads: roles whose scores it reads.
        gives: what metrics may need of it as ``judge.NAME``.
    """

    place: Place
    set: str
    reads: tuple[str, ...]
    gives: tuple[str, ...] = ()


_DETECTED = ("detected", "detected_score", "detected_count")
JUDGES: dict[str, JudgeSpec] = {
    "gallery": JudgeSpec(
        ("varbench.scoring.judges.classifier", "HeadsJudge"), "gallery", ("judge",)
    ),
    "nudenet": JudgeSpec(
        ("varbench.scoring.judges.nudenet", "NudeNetJudge"), "standard", ("detections",), _DETECTED
    ),
    "nudenet-640m": JudgeSpec(
        ("varbench.scoring.judges.nudenet", "NudeNet640mJudge"),
        "standard",
        ("detections_640m",),
        _DETECTED,
    ),
    "clip-names": JudgeSpec(
        ("varbench.scoring.judges.names", "ClipNames"),
        "standard",
        ("clip", "detections"),
        ("face",),
    ),
    "gcd": JudgeSpec(
        ("varbench.scoring.judges.names", "GcdJudge"), "standard", ("gcd",), ("face",)
    ),
    "faces": JudgeSpec(
        ("varbench.scoring.judges.face_matching", "FacesJudge"), "standard", ("faces",), ("face",)
    ),
    "clip-style": JudgeSpec(
        ("varbench.scoring.judges.zero_shot", "ClipStyle"), "standard", ("clip",)
    ),
    "clip-objects": JudgeSpec(
        ("varbench.scoring.judges.zero_shot", "ClipObjects"), "standard", ("clip",)
    ),
    "resnet-50": JudgeSpec(
        ("varbench.scoring.judges.imagenet", "ImagenetJudge"), "standard", ("imagenet",)
    ),
}


def judge_kind(name: str) -> JudgeSpec:
    """A judge by name.

    Raises:
        UserError: there is none of that name.
    """
    if name not in JUDGES:
        raise unknown("judge", name, JUDGES)
    return JUDGES[name]


def scorer(role: str, device: str = "cpu", *, instruments: str = "gallery") -> Scorer:
    """A scorer with its own network, which is read when it is first needed.

    Raises:
        ValueError: the set has no such role.
    """
    if role not in SCORERS[instruments]:
        known = ", ".join(SCORERS[instruments])
        raise ValueError(f"unknown scorer {role!r} of {instruments!r}; choose one of: {known}")
    module, name = SCORERS[instruments][role]
    made: Scorer = getattr(import_module(module), name)(device=device)
    return made


@dataclass
class ScorerPool:
    """Scorers of one process, each made once, so that each network is read once."""

    device: str = "cpu"
    _made: dict[tuple[str, str], Scorer] = field(default_factory=dict)
    _comparers: dict[tuple[str, str], Comparer] = field(default_factory=dict)

    def take(self, instruments: str, roles: Collection[str]) -> dict[str, Scorer]:
        """The scorers of these roles, in the order of the set."""
        for role in roles:
            if (instruments, role) not in self._made:
                made = scorer(role, self.device, instruments=instruments)
                self._made[instruments, role] = made
        return {
            role: self._made[instruments, role] for role in SCORERS[instruments] if role in roles
        }

    def comparers(self, instruments: str, roles: Collection[str]) -> dict[str, Comparer]:
        """The comparers of these roles, in the order of the set."""
        found: dict[str, Comparer] = {}
        for role, (module, name) in COMPARERS[instruments].items():
            if role in roles:
                if (instruments, role) not in self._comparers:
                    made = getattr(import_module(module), name)(device=self.device)
                    self._comparers[instruments, role] = made
                found[role] = self._comparers[instruments, role]
        return found


def judged(groups: Mapping[str, ScoredImages], judge: Judge) -> dict[str, ScoredImages]:
    """The groups, with what the judge sees among their scores."""
    return {
        name: replace(group, scores={**group.scores, "judge": judge.see(group.scores)})
        for name, group in groups.items()
    }


class Evaluator:
    """What looks at the images of one concept.

    Args:
        concept: whose judge decides.
        names: ids of metrics; none = all that the instruments allow.
        metrics: all there are, by id.
        cupboard: where scorers are.

    Raises:
        UserError: an unknown judge or metric.
    """

    def __init__(
        self,
        concept: Concept,
        names: Sequence[str],
        metrics: Mapping[str, Metric],
        pool: ScorerPool,
    ) -> None:
        self.kind = judge_kind(concept.judge.name)
        for name in names:
            if name not in metrics:
                raise unknown("metric", name, metrics)
        there = {"judge", *OF_MODEL, *SCORERS[self.kind.set], *COMPARERS[self.kind.set]}
        there |= {f"judge.{name}" for name in self.kind.gives}
        asked = names or list(metrics)
        self.metrics: dict[str, Metric] = {
            name: metric
            for name, metric in metrics.items()
            if name in asked and there.issuperset(metric.info.needs)
        }
        if not self.metrics:
            raise UserError(
                f"none of the metrics {', '.join(asked)} can be had with judge "
                f"{concept.judge.name!r}, which gives {', '.join(sorted(there))}"
            )
        self.wanted = wanted = {need for one in self.metrics.values() for need in one.info.needs}
        roles = (wanted | set(self.kind.reads)) & set(SCORERS[self.kind.set])
        self.scorers = pool.take(self.kind.set, roles)
        self.comparers = pool.comparers(self.kind.set, wanted)
        self._concept = concept

    @cached_property
    def judge(self) -> Judge:
        """The concept's judge."""
        module, name = self.kind.place
        made: Judge = getattr(import_module(module), name)(self._concept, self.scorers)
        return made

    @property
    def judge_scorers(self) -> dict[str, Scorer]:
        """By role, the scorers whose arrays the judge reads."""
        return {role: one for role, one in self.scorers.items() if role in self.kind.reads}

    def judge_of(self, base: Mapping[str, ScoredImages]) -> Judge:
        """The judge that sees images, where it needs them with the unerased model's `base`."""
        return self.judge.refer(base) if isinstance(self.judge, ReferringJudge) else self.judge

    def spec(self) -> dict[str, Any]:
        """What decides the numbers, besides the images."""
        return dict(self._spec)

    @cached_property
    def _spec(self) -> dict[str, Any]:
        return {
            "metrics": {id: metric.info.version for id, metric in self.metrics.items()},
            "scorers": {role: [s.version, s.fingerprint()] for role, s in self.scorers.items()},
            "comparers": {role: [c.version, c.fingerprint()] for role, c in self.comparers.items()},
            "judge": [self.judge.version, self.judge.fingerprint()],
        }
