"""Bootstrap intervals of clustered means against brute force and scipy, and their coverage."""

from __future__ import annotations

import itertools
import time
from typing import Any

import numpy as np
import pytest
from scipy import stats as scipy_stats

from tests.helpers.stats import Z, prompts
from varbench.metrics.stats import cluster_bootstrap_mean, cluster_means, intervals

# --- clustered mean -----------------------------------------------------------------------------


def test_mean_weighs_prompts_not_images() -> None:
    ours = cluster_bootstrap_mean([1.0, 1.0, 1.0, 0.0], ["a", "a", "a", "b"])
    assert ours.value == 0.5
    assert (ours.n, ours.clusters) == (4, 2)
    assert (ours.low, ours.high) == (0.0, 1.0)


def test_cluster_means_come_in_order_of_id() -> None:
    assert cluster_means([5.0, 1.0, 3.0], ["b", "a", "a"]).tolist() == [2.0, 5.0]


def test_bootstrap_equals_all_resamples_of_three_clusters(monkeypatch: pytest.MonkeyPatch) -> None:
    """27 equally likely resamples can be listed; so many draws must give their quantiles."""
    monkeypatch.setattr(intervals, "RESAMPLES", 200_000)
    monkeypatch.setattr(intervals, "LEVEL", 0.8)
    means = np.array([0.0, 1.0, 5.0])
    listed = [np.mean(draw) for draw in itertools.product(means, repeat=3)]
    ours = cluster_bootstrap_mean(means, ["a", "b", "c"])
    expected = np.quantile(listed, [0.1, 0.9], method="inverted_cdf")
    assert (ours.low, ours.high) == pytest.approx(tuple(expected))


def test_bootstrap_agrees_with_scipy_where_each_prompt_has_one_image(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setattr(intervals, "RESAMPLES", 20_000)
    values = np.random.default_rng(1).gamma(2.0, size=80)
    ours = cluster_bootstrap_mean(values, np.arange(80))
    theirs = scipy_stats.bootstrap(
        (values,), np.mean, method="percentile", n_resamples=20_000, rng=np.random.default_rng(2)
    ).confidence_interval
    assert (ours.low, ours.high) == pytest.approx((theirs.low, theirs.high), abs=0.012)


def test_bootstrap_width_is_that_of_the_clustered_standard_error(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setattr(intervals, "RESAMPLES", 5000)
    rng = np.random.default_rng(3)
    clusters = prompts(400, 4)
    values = np.repeat(rng.normal(size=400), 4) + 0.3 * rng.normal(size=1600)
    ours = cluster_bootstrap_mean(values, clusters)
    error = cluster_means(values, clusters).std() / np.sqrt(400)
    assert ours.high - ours.low == pytest.approx(2 * Z * error, rel=0.05)
    naive = cluster_bootstrap_mean(values, np.arange(1600))
    assert ours.high - ours.low > 1.7 * (naive.high - naive.low)  # Miller's point


def test_clustered_bootstrap_covers_where_the_naive_one_does_not(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setattr(intervals, "RESAMPLES", 400)
    rng = np.random.default_rng(4)
    clusters, rows, trials = prompts(40, 5), np.arange(200), 300
    covered = naive = 0
    for _ in range(trials):
        values = np.repeat(rng.normal(size=40), 5) + 0.5 * rng.normal(size=200)
        ours = cluster_bootstrap_mean(values, clusters)
        other = cluster_bootstrap_mean(values, rows)
        covered += ours.low <= 0 <= ours.high
        naive += other.low <= 0 <= other.high
    assert 0.90 <= covered / trials <= 0.98
    assert naive / trials < 0.75


def test_all_values_equal_give_a_point() -> None:
    ours = cluster_bootstrap_mean([0.1] * 30, prompts(10, 3))
    assert ours.low == pytest.approx(0.1)
    assert ours.high == pytest.approx(0.1)
    assert ours.low <= ours.value <= ours.high


def test_same_on_every_run() -> None:
    values, clusters = np.random.default_rng(0).random(60), prompts(20, 3)
    assert cluster_bootstrap_mean(values, clusters) == cluster_bootstrap_mean(values, clusters)


def test_two_thousand_resamples_of_two_thousand_rows_are_quick() -> None:
    values = np.random.default_rng(0).random(2000)
    start = time.process_time()
    cluster_bootstrap_mean(values, np.arange(2000))
    assert time.process_time() - start < 2.0  # 0.2 s of processor time as measured


@pytest.mark.parametrize(
    ("values", "clusters", "message"),
    [
        ([], [], "not empty"),
        ([1.0, np.nan], ["a", "b"], "NaN"),
        ([1.0, np.inf], ["a", "b"], "NaN or infinity"),
        ([1.0, 2.0], ["a", "a"], "at least two"),
        ([1.0, 2.0], ["a"], "one each"),
        ([[1.0, 2.0]], ["a", "b"], "list of numbers"),
    ],
)
def test_bad_input_is_refused(values: Any, clusters: Any, message: str) -> None:
    with pytest.raises(ValueError, match=message):
        cluster_bootstrap_mean(values, clusters)
