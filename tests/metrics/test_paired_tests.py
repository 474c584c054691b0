"""Paired differences, ratios and p-values against closed forms and scipy."""

from __future__ import annotations

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from scipy import stats as scipy_stats

from tests.helpers.stats import prompts
from varbench.metrics.stats import (
    cluster_bootstrap_mean,
    holm,
    intervals,
    paired_difference,
    paired_sign_flip_pvalue,
    ratio_of_means,
    tests,
)

# --- pairs and ratios ---------------------------------------------------------------------------


def test_paired_difference_is_narrower_than_its_sides() -> None:
    rng = np.random.default_rng(6)
    base = np.repeat(rng.normal(size=50), 3)
    a, b = base + 0.2 + 0.05 * rng.normal(size=150), base
    clusters = prompts(50, 3)
    ours, side = paired_difference(a, b, clusters), cluster_bootstrap_mean(a, clusters)
    assert ours.value == pytest.approx(0.2, abs=0.02)
    assert ours.high - ours.low < 0.2 * (side.high - side.low)
    back = paired_difference(b, a, clusters)
    assert (back.low, back.value, back.high) == pytest.approx((-ours.high, -ours.value, -ours.low))


def test_a_method_against_itself_differs_by_nothing() -> None:
    a = np.random.default_rng(7).random(30)
    ours = paired_difference(a, a, prompts(10, 3))
    assert (ours.low, ours.value, ours.high) == (0.0, 0.0, 0.0)


def test_pairs_must_match() -> None:
    for function in (paired_difference, ratio_of_means):
        with pytest.raises(ValueError, match="pairs"):
            function([1.0, 2.0], [1.0], ["a", "b"])


def test_ratio_of_proportional_values_is_exact_and_unpaired_would_not_be() -> None:
    b = np.random.default_rng(8).gamma(2.0, size=40)
    ours = ratio_of_means(0.8 * b, b, np.arange(40))
    assert (ours.low, ours.value, ours.high) == pytest.approx((0.8, 0.8, 0.8))


def test_ratio_agrees_with_scipys_paired_bootstrap(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(intervals, "RESAMPLES", 20_000)
    rng = np.random.default_rng(9)
    b = rng.gamma(4.0, size=100)
    a = 0.7 * b + rng.gamma(1.0, size=100)
    ours = ratio_of_means(a, b, np.arange(100))
    theirs = scipy_stats.bootstrap(
        (a, b),
        lambda x, y, axis: x.mean(axis) / y.mean(axis),
        paired=True,
        vectorized=True,
        method="percentile",
        n_resamples=20_000,
        rng=np.random.default_rng(10),
    ).confidence_interval
    assert ours.value == pytest.approx(a.mean() / b.mean())
    assert (ours.low, ours.high) == pytest.approx((theirs.low, theirs.high), abs=0.004)


def test_ratio_needs_a_positive_denominator() -> None:
    with pytest.raises(ValueError, match="above zero"):
        ratio_of_means([1.0, 2.0], [0.0, 0.0], ["a", "b"])


# --- tests and corrections ----------------------------------------------------------------------


def test_sign_flip_by_hand() -> None:
    assert paired_sign_flip_pvalue([1.0, 1.0, 1.0]) == 0.25  # +++ and --- of 8
    assert paired_sign_flip_pvalue([0.1, 0.2, 0.3]) == 0.25  # sums that round
    assert paired_sign_flip_pvalue([0.0, 0.0]) == 1.0


def test_sign_flip_agrees_with_scipy_and_between_exact_and_drawn(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    diff = np.random.default_rng(15).normal(0.4, 1.0, size=12)
    exact = paired_sign_flip_pvalue(diff)
    theirs = scipy_stats.permutation_test(
        (diff, np.zeros(12)), lambda x, y: np.mean(x - y), permutation_type="samples"
    ).pvalue
    assert exact == pytest.approx(theirs)
    monkeypatch.setattr(tests, "PATTERNS", 4000)
    assert paired_sign_flip_pvalue(diff) == pytest.approx(exact, abs=0.03)


def test_sign_flip_of_many_prompts_is_near_the_t_test_and_never_zero() -> None:
    diff = np.random.default_rng(16).normal(0.1, 1.0, size=500)
    expected = scipy_stats.ttest_1samp(diff, 0.0).pvalue
    assert paired_sign_flip_pvalue(diff) == pytest.approx(expected, abs=0.01)
    assert paired_sign_flip_pvalue(diff + 10) == 1 / 10_001


def test_holm_by_hand() -> None:
    assert holm([0.01, 0.04, 0.03, 0.005]).tolist() == pytest.approx([0.03, 0.06, 0.06, 0.02])
    assert holm([0.9, 0.8]).tolist() == [1.0, 1.0]
    assert holm([]).tolist() == []
    with pytest.raises(ValueError, match="p-values"):
        holm([1.2])
    with pytest.raises(ValueError, match="p-values"):
        holm([float("nan")])


@given(st.lists(st.floats(0, 1), min_size=1, max_size=20))
def test_holm_raises_pvalues_and_keeps_their_order(pvalues: list[float]) -> None:
    adjusted = holm(pvalues)
    assert (adjusted >= np.asarray(pvalues)).all()
    assert (adjusted <= 1).all()
    assert (np.diff(adjusted[np.argsort(pvalues, kind="stable")]) >= 0).all()
