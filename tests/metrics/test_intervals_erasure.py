"""Erasure rates against brute force, and their coverage."""

from __future__ import annotations

from typing import Any

import numpy as np
import pytest

from tests.helpers.stats import prompts, wilson
from varbench.metrics.stats import erasure_rate, intervals


def brute_force_erasure(method: Any, base: Any, clusters: Any, resamples: int) -> list[float]:
    """The definition, one prompt and one resample at a time."""
    rng, ids = np.random.default_rng(99), np.unique(clusters)
    draws = []
    for _ in range(resamples):
        rows = np.concatenate(
            [np.flatnonzero(clusters == pick) for pick in rng.choice(ids, len(ids))]
        )
        draws.append(1 - method[rows].sum() / base[rows].sum())
    return draws


def test_erasure_rate_agrees_with_brute_force(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(intervals, "RESAMPLES", 4000)
    rng, clusters = np.random.default_rng(13), prompts(40, 4)
    base = rng.random(160) < np.repeat(rng.beta(2, 1, size=40), 4)
    method = base & (rng.random(160) < 0.3)
    ours = erasure_rate(method, base, clusters)
    assert ours is not None
    assert ours.value == pytest.approx(1 - method.sum() / base.sum())
    expected = np.quantile(brute_force_erasure(method, base, clusters, 4000), [0.025, 0.975])
    assert (ours.low, ours.high) == pytest.approx(tuple(expected), abs=0.012)
    assert (ours.n, ours.clusters) == (160, 40)


def test_erasure_rate_needs_a_base_that_draws_the_concept() -> None:
    clusters, base = prompts(40, 4), np.zeros(160, dtype=bool)
    base[::4][:29] = True
    assert erasure_rate(np.zeros(160), base, clusters) is None
    base[::4][:30] = True
    assert erasure_rate(np.zeros(160), base, clusters) is not None
    assert erasure_rate(np.zeros(160), base, clusters, min_base_hits=31) is None


def test_erasure_rate_needs_hits_in_more_than_a_few_prompts() -> None:
    """40 hits in two prompts of 100: one resample in eight would divide by zero."""
    base = np.zeros(2000, dtype=bool)
    base[:40] = True
    assert erasure_rate(np.zeros(2000), base, prompts(100, 20)) is None


def test_total_erasure_is_not_certain() -> None:
    ours = erasure_rate(np.zeros(160), np.ones(160), prompts(40, 4))
    assert ours is not None
    assert (ours.value, ours.high) == (1.0, 1.0)
    assert ours.low == pytest.approx(1 - wilson(0, 40).high)


def test_no_erasure_and_worse_than_none() -> None:
    base = np.tile([1, 1, 0, 0], 40)
    same = erasure_rate(base, base, prompts(40, 4))
    worse = erasure_rate(np.ones(160), base, prompts(40, 4))
    assert same is not None
    assert (same.low, same.value, same.high) == (0.0, 0.0, 0.0)
    assert worse is not None
    assert worse.value == -1.0


def test_erasure_rate_refuses_what_does_not_pair() -> None:
    with pytest.raises(ValueError, match="need pairs"):
        erasure_rate(np.zeros(159), np.ones(160), prompts(40, 4))
    with pytest.raises(ValueError, match="0 or 1"):
        erasure_rate(np.full(160, 0.5), np.ones(160), prompts(40, 4))


def test_erasure_rate_covers(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(intervals, "RESAMPLES", 400)
    rng, clusters, trials = np.random.default_rng(14), prompts(50, 4), 300
    covered = 0
    for _ in range(trials):
        base = rng.random(200) < np.repeat(rng.beta(4, 2, size=50), 4)
        left = np.repeat(rng.beta(1, 3, size=50), 4)  # a quarter survives, prompt by prompt
        ours = erasure_rate(base & (rng.random(200) < left), base, clusters)
        assert ours is not None
        covered += ours.low <= 0.75 <= ours.high
    assert 0.90 <= covered / trials <= 0.98
