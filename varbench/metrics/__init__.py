"""Scorers look at images, metrics turn their arrays into numbers; this is the list of metrics.

Importing it needs numpy only; `varbench.scoring` has the scorers and judges.
A new metric is one file with a class that satisfies `base.Metric`, and one line in `_ALL`, or an
entry point `varbench.metrics` of another package.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from typing import Any, get_args

from varbench.metrics.acc_e import AccErased
from varbench.metrics.acc_g import AccImplicit
from varbench.metrics.accuracy import ACC_N, ACC_U
from varbench.metrics.attack_success import AttackSuccess
from varbench.metrics.base import (
    NEEDS,
    PROBE,
    Metric,
    MetricInputs,
    MetricValue,
    Pair,
    ScoredImages,
)
from varbench.metrics.clip_score import (
    CLIP_SCORE,
    CLIP_SCORE_B32,
    CLIP_SCORE_COCO,
    CLIP_SCORE_COCO_B32,
)
from varbench.metrics.cmmd import CMMD, CMMD_COCO
from varbench.metrics.completion import Completion
from varbench.metrics.coverage import COVERAGE, COVERAGE_DINO
from varbench.metrics.entropy import Entropy
from varbench.metrics.erasure_rate import ErasureRate
from varbench.metrics.face_rate import FaceRate
from varbench.metrics.fid import FID_BASE, FID_COCO_BASE, FID_COCO_REAL, FID_REAL
from varbench.metrics.h_o import ObjectHarmonic
from varbench.metrics.hits import concept_hits
from varbench.metrics.identity import H_C, ID_E_ALL, ID_E_FACE, ID_S_ALL, ID_S_FACE
from varbench.metrics.info import FRACTION, Better, MetricInfo
from varbench.metrics.kid import KID_BASE, KID_COCO_BASE
from varbench.metrics.ld1 import PredictionDrift
from varbench.metrics.ld2 import TextControl
from varbench.metrics.ld3 import RPrecision
from varbench.metrics.ld4 import MeaningShift
from varbench.metrics.lpips_change import LPIPS_E, LPIPS_U
from varbench.metrics.lpips_diversity import LpipsDiversity
from varbench.metrics.nudity import NUDITY
from varbench.metrics.pairwise_distance import PairwiseDistance
from varbench.metrics.recall import RECALL, RECALL_DINO
from varbench.metrics.style_scores import CLIP_E, CLIP_S, StyleMargin
from varbench.metrics.transfer import Transfer
from varbench.metrics.valid_person import VALID_PERSON, VALID_PERSON_TARGET
from varbench.metrics.vendi import Vendi
from varbench.utils.plugins import ObjectKind

__all__ = [
    "FRACTION",
    "METRICS",
    "PROBE",
    "Better",
    "Metric",
    "MetricInfo",
    "MetricInputs",
    "MetricValue",
    "Pair",
    "ScoredImages",
    "concept_hits",
]

_ALL: tuple[Metric, ...] = (
    ErasureRate(),
    AccErased(),
    ACC_N,
    ACC_U,
    FID_BASE,
    FID_REAL,
    KID_BASE,
    CMMD,
    CLIP_SCORE,
    CLIP_SCORE_B32,
    Vendi(),
    PairwiseDistance(),
    RECALL,
    RECALL_DINO,
    COVERAGE,
    COVERAGE_DINO,
    PredictionDrift(),
    TextControl(),
    RPrecision(),
    MeaningShift(),
    Entropy(),
    Completion(),
    AttackSuccess(),
    Transfer(),
    FID_COCO_REAL,
    FID_COCO_BASE,
    KID_COCO_BASE,
    CMMD_COCO,
    CLIP_SCORE_COCO,
    CLIP_SCORE_COCO_B32,
    *NUDITY,
    VALID_PERSON,
    VALID_PERSON_TARGET,
    ID_E_ALL,
    ID_E_FACE,
    ID_S_ALL,
    ID_S_FACE,
    H_C,
    FaceRate(),
    AccImplicit(),
    ObjectHarmonic(),
    CLIP_E,
    CLIP_S,
    StyleMargin(),
    LPIPS_E,
    LPIPS_U,
    LpipsDiversity(),
)
_BUILT_IN = {metric.info.id: metric for metric in _ALL}


def _checked(name: str, offered: Any) -> Any:
    """The metric of a plugin; ValueError says what is wrong with it."""
    metric = offered() if isinstance(offered, type) else offered
    info = getattr(metric, "info", None)
    if not isinstance(info, MetricInfo):
        raise ValueError("a metric has `info`, a varbench.metrics.MetricInfo, and it has none")
    if not callable(getattr(metric, "compute", None)):
        raise ValueError("a metric has compute(inputs), and it has none")
    if info.id != name:
        raise ValueError(f"its id is {info.id!r}; give id and entry point the same name")
    if info.better not in get_args(Better):
        raise ValueError(f"its `better` is {info.better!r}; choose up, down or same")
    if absent := [need for need in info.needs if need not in NEEDS]:
        raise ValueError(f"it needs {absent[0]!r}; there are {', '.join(NEEDS)}")
    return metric


PLUGINS = ObjectKind("metric", "varbench.metrics", lambda: _BUILT_IN, _checked)


class _Metrics(Mapping[str, Metric]):
    """The built-in metrics and the plugins that work, which are imported when first looked at."""

    def _all(self) -> dict[str, Metric]:
        return _BUILT_IN | PLUGINS.usable()

    def __getitem__(self, id: str) -> Metric:
        return _BUILT_IN.get(id) or PLUGINS.usable()[id]

    def __iter__(self) -> Iterator[str]:
        return iter(self._all())

    def __len__(self) -> int:
        return len(self._all())


METRICS: Mapping[str, Metric] = _Metrics()
"""By id; a run computes those that its suite names and its concept's instruments allow."""
