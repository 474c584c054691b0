"""Intervals hold the truth as often as they say, and equal methods are seldom told apart.

A slice of the grid of `benchmarks/coverage.py`.
"""

from __future__ import annotations

import importlib.util
import math
import sys
from types import ModuleType

import pytest

from tests.helpers.paths import ROOT

TRIALS = 1000
SETTINGS = [
    *(((25, 1), (1, 0.0), lost) for lost in (0.0, 0.02, 0.2)),
    *(((60, 1), (1, 0.0), lost) for lost in (0.003, 0.008, 0.1)),
    *(((60, 4), (1, 0.0), lost) for lost in (0.0, 0.003, 0.02, 0.2)),
    *(((240, 1), (1, 0.0), lost) for lost in (0.0, 0.003, 0.008, 0.1, 0.2)),
    *(((60, 1), (3, 0.05), lost) for lost in (0.008, 0.2)),
    *(((60, 4), (3, 0.1), lost) for lost in (0.02, 0.1)),
    *(((25, 2), (2, 0.1), lost) for lost in (0.0, 0.1)),
]


@pytest.fixture(scope="module")
def benchmark() -> ModuleType:
    spec = importlib.util.spec_from_file_location("coverage_grid", ROOT / "benchmarks/coverage.py")
    assert spec is not None and spec.loader is not None
    module = importlib.util.module_from_spec(spec)
    sys.modules["coverage_grid"] = module
    spec.loader.exec_module(module)
    return module


@pytest.mark.parametrize(("size", "edits", "lost"), SETTINGS, ids=str)
def test_intervals_cover(
    benchmark: ModuleType, size: tuple[int, int], edits: tuple[int, float], lost: float
) -> None:
    measured = benchmark.coverage(benchmark.Setting(*size, *edits, lost), TRIALS)
    error = math.sqrt(0.95 * 0.05 / TRIALS)
    assert measured.rate >= 0.93 - 2 * error
    assert measured.difference >= 0.93 - 2 * error
    assert math.isnan(measured.erased) or measured.erased >= 0.93 - 2 * error
    assert measured.told_apart <= 0.07 + 2 * error
