"""Scorers look at pictures, metrics turn their arrays into numbers; this is the list of metrics.

Importing it needs numpy only; `instruments.py` knows the scorers and judges.
A new metric is one file with a class that satisfies `base.Metric`, and one line in `_ALL`, or an
entry point `varbench.metrics` of another package.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from typing import Any

from varbench.metrics.acc_e import AccErased
from varbench.metrics.accuracy import ACC_N, ACC_U
from varbench.metrics.base import PROBE, Evidence, Group, Metric, MetricValue, Pair, Scorer
from varbench.metrics.clip_score import ClipScore
from varbench.metrics.entropy import Entropy
from varbench.metrics.erasure_rate import ErasureRate
from varbench.metrics.fid import FID_BASE, FID_REAL
from varbench.metrics.hits import concept_hits
from varbench.metrics.instruments import Cupboard, Instruments, needs
from varbench.metrics.kid import KidBase
from varbench.metrics.ld1 import PredictionDrift
from varbench.metrics.ld2 import TextControl
from varbench.metrics.ld3 import RPrecision
from varbench.metrics.pairwise_distance import PairwiseDistance
from varbench.metrics.vendi import Vendi
from varbench.plugins import ObjectKind

__all__ = [
    "METRICS",
    "PROBE",
    "Cupboard",
    "Evidence",
    "Group",
    "Instruments",
    "Metric",
    "MetricValue",
    "Pair",
    "Scorer",
    "concept_hits",
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
    PredictionDrift(),
    TextControl(),
    RPrecision(),
    Entropy(),
)
_BUILT_IN = {metric.id: metric for metric in _ALL}
_ATTRIBUTES = ("id", "title", "unit", "better", "range", "needs", "version", "citation", "compute")


def _checked(name: str, offered: Any) -> Any:
    """The metric of a plugin; ValueError says what is wrong with it."""
    made = offered() if isinstance(offered, type) else offered
    if lacking := [a for a in _ATTRIBUTES if not hasattr(made, a)]:
        raise ValueError(f"a metric has {', '.join(_ATTRIBUTES)}; it lacks {', '.join(lacking)}")
    if made.id != name:
        raise ValueError(f"its id is {made.id!r}; give id and entry point the same name")
    known = needs()
    if absent := [need for need in made.needs if need not in known]:
        raise ValueError(f"it needs {absent[0]!r}; there are {', '.join(known)}")
    return made


PLUGINS = ObjectKind("metric", "varbench.metrics", lambda: _BUILT_IN, _checked)


class _Metrics(Mapping[str, Metric]):
    """The built-in metrics and the plugins that work, which are imported when first looked at."""

    def _all(self) -> dict[str, Metric]:
        return _BUILT_IN | PLUGINS.usable()

    def __getitem__(self, id: str) -> Metric:
        return self._all()[id]

    def __iter__(self) -> Iterator[str]:
        return iter(self._all())

    def __len__(self) -> int:
        return len(self._all())


METRICS: Mapping[str, Metric] = _Metrics()
"""By id; a run computes those that its suite names and its concept's instruments allow."""
