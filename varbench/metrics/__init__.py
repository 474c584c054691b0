"""Scorers look at pictures, metrics turn their arrays into numbers; this is the list of both.

Importing it needs numpy only: a scorer's module (and torch) is loaded when `scorer` is called.
A new metric is one file with a class that satisfies `base.Metric`, and one line in `METRICS`.
"""

from __future__ import annotations

from importlib import import_module

from varbench.metrics.acc_e import AccErased
from varbench.metrics.accuracy import ACC_N, ACC_U
from varbench.metrics.base import Evidence, Group, Metric, MetricValue, Pair, Scorer
from varbench.metrics.clip_score import ClipScore
from varbench.metrics.erasure_rate import ErasureRate
from varbench.metrics.fid import FID_BASE, FID_REAL
from varbench.metrics.hits import concept_hits
from varbench.metrics.kid import KidBase
from varbench.metrics.pairwise_distance import PairwiseDistance
from varbench.metrics.vendi import Vendi

__all__ = [
    "METRICS",
    "SCORERS",
    "Evidence",
    "Group",
    "Metric",
    "MetricValue",
    "Pair",
    "Scorer",
    "concept_hits",
    "scorer",
]

_ALL: tuple[Metric, ...] = (
    ErasureRate(),
    AccErased(),
    ACC_N,
    ACC_U,
    FID_BASE,
    FID_REAL,
    KidBase(),
    ClipScore(),
    Vendi(),
    PairwiseDistance(),
)
METRICS: dict[str, Metric] = {metric.id: metric for metric in _ALL}

SCORERS: dict[str, tuple[str, str]] = {  # id -> module, class
    "judge": ("varbench.metrics.scorers.judge", "JudgeScorer"),
    "clip": ("varbench.metrics.scorers.clip", "ClipScorer"),
    "features": ("varbench.metrics.scorers.features", "FeatureScorer"),
}


def scorer(id: str, device: str = "cpu") -> Scorer:
    """A scorer with its default network; the network is read when it is first needed.

    Raises:
        ValueError: for an unknown id.
    """
    if id not in SCORERS:
        raise ValueError(f"unknown scorer {id!r}; choose one of: {', '.join(SCORERS)}")
    module, name = SCORERS[id]
    made: Scorer = getattr(import_module(module), name)(device=device)
    return made
