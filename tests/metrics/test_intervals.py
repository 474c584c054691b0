"""Intervals of rates against closed forms and scipy, and what holds for every interval."""

from __future__ import annotations

from typing import Any

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from scipy import stats as scipy_stats

from tests.helpers.stats import Z, prompts, wilson
from varbench.metrics.stats import (
    Interval,
    cluster_bootstrap_mean,
    clustered_rate,
    erasure_rate,
    intervals,
    paired_difference,
    ratio_of_means,
)

# --- Wilson -------------------------------------------------------------------------------------


@pytest.mark.parametrize(("hits", "n"), [(0, 1), (1, 1), (0, 50), (3, 10), (142, 300), (999, 1000)])
@pytest.mark.parametrize("level", [0.8, 0.95, 0.99])
def test_wilson_agrees_with_scipy(
    hits: int, n: int, level: float, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(intervals, "LEVEL", level)
    ours = wilson(hits, n)
    theirs = scipy_stats.binomtest(hits, n).proportion_ci(level, method="wilson")
    assert (ours.low, ours.high) == pytest.approx((theirs.low, theirs.high), abs=1e-12)


def test_wilson_at_the_ends() -> None:
    none, every = wilson(0, 40), wilson(40, 40)
    assert none.low == 0.0
    assert none.high == pytest.approx(Z**2 / (40 + Z**2))
    assert every.high == 1.0
    assert every.low == pytest.approx(1 - none.high)


@given(st.integers(1, 10_000), st.data())
def test_wilson_holds_its_value_and_mirrors(n: int, data: st.DataObject) -> None:
    hits = data.draw(st.integers(0, n))
    ours, mirror = wilson(hits, n), wilson(n - hits, n)
    assert 0 <= ours.low <= ours.value <= ours.high <= 1
    assert ours.low < ours.high
    assert ours.low == pytest.approx(1 - mirror.high, abs=1e-12)


@pytest.mark.parametrize(("n", "p"), [(20, 0.1), (50, 0.5), (200, 0.03)])
def test_wilson_covers(n: int, p: float) -> None:
    """Exact coverage: a sum over all outcomes, no simulation."""
    outcomes = [wilson(hits, n) for hits in range(n + 1)]
    chance = scipy_stats.binom.pmf(np.arange(n + 1), n, p)
    covered = sum(c for c, one in zip(chance, outcomes, strict=True) if one.low <= p <= one.high)
    assert 0.91 < covered < 0.99


# --- clustered rate -----------------------------------------------------------------------------


@pytest.mark.parametrize("hits", [0, 3, 17, 20])
def test_clustered_rate_is_wilson_with_one_image_per_prompt(hits: int) -> None:
    rows = [1] * hits + [0] * (20 - hits)
    ours, theirs = clustered_rate(rows, np.arange(20)), wilson(hits, 20)
    assert (ours.value, ours.low, ours.high) == pytest.approx(
        (theirs.value, theirs.low, theirs.high)
    )


def test_clustered_rate_counts_alike_images_once() -> None:
    alike = np.repeat([1] * 6 + [0] * 14, 5)
    ours, theirs = clustered_rate(alike, prompts(20, 5)), wilson(6, 20)
    assert (ours.low, ours.high) == pytest.approx((theirs.low, theirs.high))


def test_clustered_rate_is_never_certain() -> None:
    none = clustered_rate([0] * 100, prompts(20, 5))
    assert (none.low, none.high) == (0.0, wilson(0, 20).high)
    assert clustered_rate([1] * 100, prompts(20, 5)).low == pytest.approx(1 - none.high)


def test_clustered_rate_counts_images_fully_where_prompts_do_not_differ() -> None:
    even = clustered_rate([1, 0, 0] * 30, prompts(30, 3))
    assert (even.low, even.high) == pytest.approx((wilson(30, 90).low, wilson(30, 90).high))


def test_clustered_rate_refuses_scores() -> None:
    with pytest.raises(ValueError, match="0 or 1"):
        clustered_rate([0.5, 1.0], ["a", "b"])


def test_clustered_rate_covers() -> None:
    """Beta-binomial prompts: mean 0.15, intraclass correlation 0.2."""
    rng, clusters, trials = np.random.default_rng(5), prompts(60, 5), 2000
    covered = 0
    for _ in range(trials):
        rates = rng.beta(0.15 * 4, 0.85 * 4, size=60)
        ours = clustered_rate(rng.random((60, 5)).ravel() < np.repeat(rates, 5), clusters)
        covered += ours.low <= 0.15 <= ours.high
    assert 0.92 <= covered / trials <= 0.98


# --- what holds for every interval --------------------------------------------------------------

ROWS = st.lists(
    st.tuples(st.floats(-1e6, 1e6), st.floats(0.5, 10.0), st.sampled_from("abcdef")),
    min_size=2,
    max_size=25,
).filter(lambda rows: len({row[2] for row in rows}) > 1)


def every_interval(rows: list[tuple[float, float, str]]) -> list[Interval]:
    a, b = [row[0] for row in rows], [row[1] for row in rows]
    clusters = [row[2] for row in rows]
    hits, base = [float(value > 0) for value in a], [1.0] * len(rows)
    rate = erasure_rate(hits, base, clusters, min_base_hits=1)
    assert rate is not None
    return [
        cluster_bootstrap_mean(a, clusters),
        paired_difference(a, b, clusters),
        ratio_of_means(a, b, clusters),
        clustered_rate(hits, clusters),
        rate,
    ]


@settings(max_examples=40, deadline=None)
@given(ROWS, st.randoms())
def test_intervals_hold_their_value_and_ignore_the_order_of_rows(
    rows: list[tuple[float, float, str]], random: Any
) -> None:
    shuffled = random.sample(rows, len(rows))
    for interval, other in zip(every_interval(rows), every_interval(shuffled), strict=True):
        assert interval.low <= interval.value <= interval.high
        assert (interval.n, interval.clusters) == (other.n, other.clusters)
        assert (interval.low, interval.value, interval.high) == pytest.approx(
            (other.low, other.value, other.high), rel=1e-9, abs=1e-6
        )
