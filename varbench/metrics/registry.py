"""All metrics by id: the built-in ones in the order of a record, then those of plugins.

A new metric is one file with a class that satisfies `base.Metric` and one line in `_ALL`, or
an entry point `varbench.metrics` of another package.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from typing import Any, get_args

from varbench.metrics.accuracy import ACC_E, ACC_G, ACC_N, ACC_U, UNRECOGNISED
from varbench.metrics.base import NEEDS, Better, Metric, MetricInfo
from varbench.metrics.clip_score import (
    CLIP_E,
    CLIP_S,
    CLIP_SCORE,
    CLIP_SCORE_B32,
    CLIP_SCORE_COCO,
    CLIP_SCORE_COCO_B32,
    StyleMargin,
)
from varbench.metrics.diversity import PAIRWISE_DISTANCE, VENDI
from varbench.metrics.erasure_rate import ErasureRate
from varbench.metrics.fid import FID_BASE, FID_COCO_BASE, FID_COCO_REAL, FID_REAL
from varbench.metrics.identity import (
    FACE_RATE,
    ID_E_ALL,
    ID_E_FACE,
    ID_S_ALL,
    ID_S_FACE,
    NameHarmonic,
)
from varbench.metrics.kernel_distance import CMMD, CMMD_COCO, KID_BASE, KID_COCO_BASE
from varbench.metrics.lpips import LPIPS_E, LPIPS_U, LpipsDiversity
from varbench.metrics.meaning_shift import MeaningShift
from varbench.metrics.nudity import NUDITY, VALID_PERSON, VALID_PERSON_TARGET
from varbench.metrics.object_harmonic import ObjectHarmonic
from varbench.metrics.precision_recall import COVERAGE, COVERAGE_DINO, RECALL, RECALL_DINO
from varbench.metrics.prediction_drift import Entropy, PredictionDrift, TextControl
from varbench.metrics.r_precision import RPrecision
from varbench.metrics.robustness import AttackSuccess, Completion, Transfer
from varbench.utils.plugins import ObjectKind

_ALL: tuple[Metric, ...] = (
    ErasureRate(), UNRECOGNISED, ACC_E, ACC_N, ACC_U,
    FID_BASE, FID_REAL, KID_BASE, CMMD, CLIP_SCORE, CLIP_SCORE_B32,
    VENDI, PAIRWISE_DISTANCE, RECALL, RECALL_DINO, COVERAGE, COVERAGE_DINO,
    PredictionDrift(), TextControl(), RPrecision(), MeaningShift(), Entropy(),
    Completion(), AttackSuccess(), Transfer(),
    FID_COCO_REAL, FID_COCO_BASE, KID_COCO_BASE, CMMD_COCO, CLIP_SCORE_COCO, CLIP_SCORE_COCO_B32,
    *NUDITY, VALID_PERSON, VALID_PERSON_TARGET,
    ID_E_ALL, ID_E_FACE, ID_S_ALL, ID_S_FACE, NameHarmonic(), FACE_RATE,
    ACC_G, ObjectHarmonic(),
    CLIP_E, CLIP_S, StyleMargin(),
    LPIPS_E, LPIPS_U, LpipsDiversity(),
)  # fmt: skip
BUILT_IN: Mapping[str, Metric] = {metric.info.id: metric for metric in _ALL}


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
    if unknown := [need for need in info.needs if need not in NEEDS]:
        raise ValueError(f"it needs {unknown[0]!r}; there are {', '.join(NEEDS)}")
    return metric


PLUGINS = ObjectKind("metric", "varbench.metrics", lambda: BUILT_IN, _checked)


class _Metrics(Mapping[str, Metric]):
    """The built-in metrics and the plugins that work, which are imported when first looked at."""

    def __getitem__(self, id: str) -> Metric:
        return BUILT_IN[id] if id in BUILT_IN else PLUGINS.usable()[id]

    def __iter__(self) -> Iterator[str]:
        yield from BUILT_IN
        yield from PLUGINS.usable()

    def __len__(self) -> int:
        return len(BUILT_IN) + len(PLUGINS.usable())


METRICS: Mapping[str, Metric] = _Metrics()
"""By id; a run computes those that its suite names and its concept's judge allows."""
