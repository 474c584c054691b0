"""Intervals of means and ratios over prompts against scipy, and their coverage."""

from __future__ import annotations

import numpy as np
import pytest
from scipy import stats as scipy_stats

from tests.helpers.stats import prompts
from varbench.metrics.stats import clustered_mean, ratio_of_means
from varbench.metrics.stats.clusters import cluster_means, cluster_sums


def test_means_weigh_prompts_not_images() -> None:
    ours = clustered_mean([1.0, 1.0, 1.0, 0.0], ["a", "a", "a", "b"])
    assert ours.value == 0.5
    assert (ours.n, ours.clusters) == (4, 2)


def test_clusters_come_in_order_of_id() -> None:
    assert cluster_means([5.0, 1.0, 3.0], ["b", "a", "a"]).tolist() == [2.0, 5.0]
    assert cluster_sums([5.0, 1.0, 3.0], ["b", "a", "a"]).tolist() == [4.0, 5.0]


def test_the_interval_is_students_over_prompts() -> None:
    values = np.random.default_rng(1).gamma(2.0, size=(30, 4))
    ours, means = clustered_mean(values.ravel(), prompts(30, 4)), values.mean(axis=1)
    theirs = scipy_stats.ttest_1samp(means, 0).confidence_interval(0.95)
    assert (ours.low, ours.high) == pytest.approx((theirs.low, theirs.high))


def test_a_ratio_of_means_agrees_with_its_bootstrap() -> None:
    rng = np.random.default_rng(2)
    base = rng.gamma(4.0, size=200)
    ours = ratio_of_means(0.8 * base + 0.1 * rng.normal(size=200), base, np.arange(200))
    pairs = np.stack([0.8 * base + 0.1 * np.random.default_rng(2).normal(size=200), base])
    draws = rng.integers(0, 200, (4000, 200))
    ratios = pairs[0][draws].mean(axis=1) / base[draws].mean(axis=1)
    width = np.quantile(ratios, 0.975) - np.quantile(ratios, 0.025)
    assert ours.high - ours.low == pytest.approx(width, rel=0.6)
    with pytest.raises(ValueError, match="above zero"):
        ratio_of_means([1.0, 2.0], [0.0, 0.0], ["a", "b"])


def test_means_over_prompts_cover_where_naive_ones_do_not() -> None:
    """Miller's point: images of one prompt resemble each other."""
    rng = np.random.default_rng(4)
    clusters, rows, trials = prompts(8, 5), np.arange(40), 1000
    covered = naive = 0
    for _ in range(trials):
        values = np.repeat(rng.normal(size=8), 5) + 0.5 * rng.normal(size=40)
        ours, other = clustered_mean(values, clusters), clustered_mean(values, rows)
        covered += ours.low <= 0 <= ours.high
        naive += other.low <= 0 <= other.high
    assert 0.93 <= covered / trials <= 0.97
    assert naive / trials < 0.75


def test_all_values_equal_give_a_point() -> None:
    ours = clustered_mean([0.1] * 30, prompts(10, 3))
    assert ours.low == pytest.approx(0.1) == ours.high
