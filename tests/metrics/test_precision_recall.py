"""Recall and coverage against brute force, closed forms and what they are to see."""

from __future__ import annotations

from functools import partial

import numpy as np
import pytest
from scipy.spatial.distance import cdist

from tests.helpers.metrics import Prompt, group, metric_inputs, value, world
from varbench.metrics import METRICS, ScoredImages
from varbench.metrics import precision_recall as near
from varbench.metrics.groups import Array, row_blocks
from varbench.metrics.precision_recall import independent_coverage

BOTH = ("recall", "coverage", "recall_dino", "coverage_dino")


def drawn(seed: int, n: int = 40, d: int = 3) -> Array:
    return np.random.default_rng(seed).normal(size=(n, d))


def one_group(features: Array) -> dict[str, ScoredImages]:
    prompts = [Prompt(str(j), f"{j:04d}") for j in range(len(features))]
    return {"unrelated": group(prompts, features=features)}


def by_hand(ours: Array, base: Array, k: int = 5) -> tuple[float, float]:
    """Recall and coverage by their definitions, in loops over images."""
    radius = {
        name: [sorted(np.linalg.norm(rows - row, axis=1))[k] for row in rows]
        for name, rows in (("ours", ours), ("base", base))
    }
    recalled = [
        any(np.linalg.norm(y - x) <= r for x, r in zip(ours, radius["ours"], strict=True))
        for y in base
    ]
    covered = [
        any(np.linalg.norm(y - x) <= r for x in ours)
        for y, r in zip(base, radius["base"], strict=True)
    ]
    return float(np.mean(recalled)), float(np.mean(covered))


@pytest.mark.parametrize("shift", [0.0, 1.0, 3.0])
def test_both_are_their_definitions(shift: float) -> None:
    ours, base = 0.7 * drawn(1) + shift, drawn(2)
    e = metric_inputs(one_group(ours), one_group(base))
    recall, coverage = by_hand(ours, base)
    assert value("recall", e).value == pytest.approx(recall)
    assert value("coverage", e).value == pytest.approx(coverage)
    assert 0 <= min(recall, coverage) < 1
    for name in BOTH:
        assert value(name, e).baseline == 1


def test_distances_and_radii_are_scipys_whatever_the_block(monkeypatch: pytest.MonkeyPatch) -> None:
    a, b = drawn(1, 23, 7) + 5, drawn(2, 31, 7) + 5
    np.testing.assert_allclose(near.squared_distances(a, b), cdist(a, b) ** 2, rtol=1e-9)
    radii = np.sort(cdist(a, a), axis=1)[:, 5] ** 2
    before = near.within(b, a, radii), near.reached(a, radii, b)
    monkeypatch.setattr(near, "row_blocks", partial(row_blocks, size=4))
    np.testing.assert_allclose(near.squared_radii(a), radii, rtol=1e-9)
    np.testing.assert_array_equal(near.within(b, a, radii), before[0])
    np.testing.assert_array_equal(near.reached(a, radii, b), before[1])


def test_rounding_of_float32_is_no_distance() -> None:
    rows = (drawn(0, 20, 64) + 30).astype(np.float32)
    again = np.nextafter(rows, np.float32(np.inf))
    squared = near.squared_distances(rows, again)
    assert (np.diagonal(squared) == 0).all()
    assert (squared[~np.eye(20, dtype=bool)] > 1).all()


def test_recall_and_coverage_see_collapse_and_stray_images() -> None:
    base = drawn(0, 60)
    collapsed = base[:1].repeat(60, axis=0)
    stray = base.copy()
    stray[10:] = 0.05 * stray[10:]
    stray[:10] = 40 * stray[:10]
    seen = {
        name: {m: value(m, metric_inputs(one_group(rows), one_group(base))).value for m in BOTH}
        for name, rows in (("collapsed", collapsed), ("stray", stray))
    }
    assert seen["collapsed"]["recall"] == pytest.approx(1 / 60)
    assert seen["collapsed"]["coverage"] < 0.3
    assert seen["stray"]["recall"] > 0.9  # ten strays have neighbourhoods around everything
    assert seen["stray"]["coverage"] < 0.8


def test_coupling_raises_both_above_independent_samples() -> None:
    base, fresh = drawn(0, 300, 8), drawn(1, 300, 8)
    near_by = base + 0.05 * fresh
    for name in ("recall", "coverage"):
        coupled = value(name, metric_inputs(one_group(near_by), one_group(base)))
        independent = value(name, metric_inputs(one_group(fresh), one_group(base)))
        assert coupled.value == 1
        assert independent.value is not None and independent.value < 0.99


def test_coverage_of_independent_samples_is_the_closed_form() -> None:
    shares = [
        near.reached(a, near.squared_radii(a), b).mean()
        for a, b in ((drawn(2 * s, 30, 4), drawn(2 * s + 1, 50, 4)) for s in range(300))
    ]
    error = np.std(shares) / np.sqrt(len(shares))
    assert abs(np.mean(shares) - independent_coverage(30, 50)) < 3 * error
    assert independent_coverage(10**6, 10**6) == pytest.approx(1 - 2.0**-5, abs=1e-4)
    details = value("coverage", metric_inputs(world(1), world(2))).details
    assert details["independent"] == independent_coverage(96, 96)


@pytest.mark.parametrize("metric", BOTH)
def test_intervals_are_of_a_rate_and_few_images_give_no_value(metric: str) -> None:
    found = value(metric, metric_inputs(world(1), world(2)))
    assert found.low is not None and found.high is not None
    assert 0 <= found.low < found.high <= 1
    same = value(metric, metric_inputs(world(2)))
    assert same.low is not None and same.low < 1  # 24 prompts do not make it certain
    few = METRICS[metric].compute(metric_inputs(one_group(drawn(0, 5)), one_group(drawn(1, 5))))
    assert few.value is None
    assert "5 pictures or fewer" in few.note


def test_each_reads_its_own_features() -> None:
    base = one_group(drawn(0))
    scores = {**base["unrelated"].scores, "dino": {"features": drawn(1)}}
    other = {"unrelated": ScoredImages(base["unrelated"].prompts, base["unrelated"].seeds, scores)}
    for metric in BOTH:
        assert METRICS[metric].info.needs == ("dino" if metric.endswith("dino") else "features",)
        found = value(metric, metric_inputs(other, base)).value
        assert found is not None
        assert (found < 1) == metric.endswith("dino")
