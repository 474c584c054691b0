"""Intervals of rates against closed forms and scipy, and what holds for every interval."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from scipy import stats as scipy_stats

from tests.helpers.stats import Z, prompts, wilson
from varbench.metrics.stats import Interval, clustered_mean, clustered_rate, ratio_of_means
from varbench.metrics.stats.edits import EditVariance
from varbench.metrics.stats.means import clustered_total, erased_count_share, total_difference
from varbench.metrics.stats.rates import erased_share, rate_difference
from varbench.metrics.stats.tests import paired_sign_flip_pvalue

HITS, NO_HITS = np.ones(160, bool), np.zeros(160, bool)
CLUSTERS = prompts(40, 4)


def ends(interval: Interval | None) -> tuple[float, float]:
    assert interval is not None
    return interval.low, interval.high


# --- Wilson -------------------------------------------------------------------------------------


@pytest.mark.parametrize(("hits", "n"), [(0, 5), (5, 5), (0, 50), (5, 10), (142, 300), (990, 1000)])
def test_wilson_agrees_with_scipy(hits: int, n: int) -> None:
    theirs = scipy_stats.binomtest(hits, n).proportion_ci(0.95, method="wilson")
    assert ends(wilson(hits, n)) == pytest.approx((theirs.low, theirs.high), abs=1e-12)


@pytest.mark.parametrize("hits", [1, 2, 3])
def test_the_low_end_of_few_hits_is_poissons(hits: int) -> None:
    theirs = scipy_stats.binomtest(hits, 1000).proportion_ci(0.95, method="wilson")
    low = scipy_stats.chi2.ppf(0.05, 2 * hits) / 2 / 1000
    assert ends(wilson(hits, 1000)) == pytest.approx((low, theirs.high))
    assert wilson(1000 - hits, 1000).high == pytest.approx(1 - low)


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


@pytest.mark.parametrize(
    ("n", "p"), [(20, 0.1), (50, 0.5), (200, 0.03), (60, 0.003), (240, 0.0008)]
)
def test_wilson_covers(n: int, p: float) -> None:
    """Exact coverage: a sum over all outcomes, no simulation."""
    outcomes = [wilson(hits, n) for hits in range(n + 1)]
    chance = scipy_stats.binom.pmf(np.arange(n + 1), n, p)
    covered = sum(c for c, each in zip(chance, outcomes, strict=True) if each.low <= p <= each.high)
    assert covered > 0.93


# --- clustered rate -----------------------------------------------------------------------------


@pytest.mark.parametrize("hits", [0, 3, 17, 20])
def test_a_clustered_rate_is_wilsons_with_one_image_per_prompt(hits: int) -> None:
    rows = [1] * hits + [0] * (20 - hits)
    assert ends(clustered_rate(rows, np.arange(20))) == pytest.approx(ends(wilson(hits, 20)))


def test_images_of_a_prompt_that_are_alike_count_once() -> None:
    alike = np.repeat([1] * 6 + [0] * 14, 5)
    assert ends(clustered_rate(alike, prompts(20, 5))) == pytest.approx(ends(wilson(6, 20)))


def test_images_count_fully_where_prompts_do_not_differ() -> None:
    even = clustered_rate([1, 0, 0] * 30, prompts(30, 3))
    assert ends(even) == pytest.approx(ends(wilson(30, 90)))


def test_few_hits_never_tighten_a_bound() -> None:
    """One hit in 160 images must not bound a rate more tightly than no hit does."""
    one = NO_HITS.copy()
    one[7] = True
    clean, hit = clustered_rate(NO_HITS, CLUSTERS), clustered_rate(one, CLUSTERS)
    assert clean.high <= hit.high and hit.low > 0
    assert ends(clustered_rate(HITS, CLUSTERS)) == pytest.approx((1 - clean.high, 1.0))


def test_scores_are_no_hits() -> None:
    with pytest.raises(ValueError, match="0 or 1"):
        clustered_rate([0.5, 1.0], ["a", "b"])


# --- changes ------------------------------------------------------------------------------------

ZERO = wilson(0, 40).high


def test_no_change_has_wilsons_width() -> None:
    base = np.tile([True, True, False, False], 40)
    for same in (HITS, NO_HITS, base):
        low, high = ends(rate_difference(same, same, CLUSTERS))
        assert (low, high) == pytest.approx((-ZERO, ZERO), abs=0.01)
    assert ends(erased_share(HITS, HITS, CLUSTERS)) == pytest.approx((-ZERO, ZERO))


def test_the_same_number_under_two_names_has_the_same_interval() -> None:
    """All images of the base model hit: the erased share is the lost rate."""
    rng = np.random.default_rng(2)
    for kept in (0.0, 0.02, 0.5, 1.0):
        method = rng.random(160) < kept
        share, difference = (f(method, HITS, CLUSTERS) for f in (erased_share, rate_difference))
        assert share is not None
        assert (share.value, share.low, share.high) == pytest.approx(
            (-difference.value, -difference.high, -difference.low)
        )


def test_total_erasure_is_not_certain() -> None:
    share = erased_share(NO_HITS, HITS, CLUSTERS)
    assert share is not None and (share.value, share.high) == (1.0, 1.0)
    assert share.low == pytest.approx(1 - ZERO, abs=1e-3)


@settings(max_examples=60, deadline=None)
@given(st.integers(0, 2**12 - 1), st.integers(0, 2**12 - 1))
def test_a_change_is_claimed_only_where_the_exact_test_finds_it(ours: int, base: int) -> None:
    a, b = (np.array([n >> i & 1 for i in range(12)], bool) for n in (ours, base))
    low, high = ends(rate_difference(a, b, np.arange(12)))
    if low > 0 or high < 0:
        assert paired_sign_flip_pvalue(a.astype(float) - b) <= 0.05


def test_an_erased_share_needs_a_base_model_that_draws_the_concept() -> None:
    base = NO_HITS.copy()
    base[::4][:29] = True
    assert erased_share(NO_HITS, base, CLUSTERS) is None
    base[::4][:30] = True
    assert erased_share(NO_HITS, base, CLUSTERS) is not None
    assert erased_share(
        np.tile(NO_HITS, 2),
        np.tile(base, 2),
        np.tile(CLUSTERS, 2),
        EditVariance(0.0, 0.0, 1, count=2),
    )
    few = np.zeros(2000, bool)
    few[:40] = True  # in two prompts of 100: other prompts might have none
    assert erased_share(np.zeros(2000), few, prompts(100, 20)) is None


def test_an_erased_share_may_be_negative() -> None:
    base = np.tile([True, True, False, False], 40)
    share = erased_share(HITS, base, CLUSTERS)
    assert share is not None and share.value == -1.0 and share.low < -1.0


# --- counts -------------------------------------------------------------------------------------


def test_counts_never_have_zero_width() -> None:
    ones, none = np.ones(160), np.zeros(160)
    assert ends(clustered_total(none, CLUSTERS)) == pytest.approx((0.0, 40 * ZERO))
    for same in (ones, none):
        difference = ends(total_difference(same, same, CLUSTERS))
        assert difference == pytest.approx((-40 * ZERO, 40 * ZERO))
    share = erased_count_share(2 * ones, 2 * ones, CLUSTERS)
    assert ends(share) == pytest.approx((-ZERO, ZERO))
    assert ends(erased_count_share(none, 3 * ones, CLUSTERS)) == pytest.approx((1 - ZERO, 1.0))


def test_counts_are_whole() -> None:
    with pytest.raises(ValueError, match="whole numbers"):
        clustered_total([0.5, 1.0], ["a", "b"])
    with pytest.raises(ValueError, match="whole numbers"):
        clustered_total([-1.0, 1.0], ["a", "b"])


# --- what holds for every interval --------------------------------------------------------------

ROWS = st.lists(
    st.tuples(st.floats(-1e6, 1e6), st.floats(0.5, 10.0), st.sampled_from("abcdef")),
    min_size=2,
    max_size=25,
).filter(lambda rows: len({row[2] for row in rows}) > 1)


def every_interval(rows: list[tuple[float, float, str]]) -> list[Interval]:
    a, b = np.array([row[0] for row in rows]), np.array([row[1] for row in rows])
    clusters = [row[2] for row in rows]
    hits, base = a > 0, b > 2
    counts = np.round(b)
    return [
        clustered_mean(a, clusters),
        ratio_of_means(a, b, clusters),
        clustered_rate(hits, clusters),
        rate_difference(hits, base, clusters),
        clustered_total(counts, clusters),
        total_difference(counts, counts[::-1], clusters),
    ]


@settings(max_examples=40, deadline=None)
@given(ROWS, st.randoms())
def test_intervals_hold_their_value_and_ignore_the_order_of_rows(
    rows: list[tuple[float, float, str]], random: Any
) -> None:
    order = random.sample(range(len(rows)), len(rows))
    shuffled = [rows[i] for i in order]
    for number, (ours, other) in enumerate(
        zip(every_interval(rows), every_interval(shuffled), strict=True)
    ):
        assert ours.low <= ours.value <= ours.high
        assert (ours.n, ours.clusters) == (other.n, other.clusters)
        if number < 5:  # the last pairs other rows
            assert (ours.low, ours.value, ours.high) == pytest.approx(
                (other.low, other.value, other.high), rel=1e-9, abs=1e-6
            )


@pytest.mark.parametrize(
    ("values", "clusters", "message"),
    [
        ([], [], "not empty"),
        ([1.0, np.nan], ["a", "b"], "NaN"),
        ([1.0, np.inf], ["a", "b"], "NaN or infinity"),
        ([1.0, 0.0], ["a", "a"], "at least two"),
        ([1.0, 0.0], ["a"], "one each"),
        ([[1.0, 0.0]], ["a", "b"], "list of numbers"),
    ],
)
@pytest.mark.parametrize("interval", [clustered_mean, clustered_rate, clustered_total])
def test_bad_input_is_refused(
    interval: Callable[..., Interval], values: Any, clusters: Any, message: str
) -> None:
    with pytest.raises(ValueError, match=message):
        interval(values, clusters)


@pytest.mark.parametrize("interval", [rate_difference, erased_share, total_difference])
def test_what_does_not_pair_is_refused(interval: Callable[..., Interval]) -> None:
    with pytest.raises(ValueError, match="need pairs"):
        interval(np.zeros(159), np.ones(160), CLUSTERS)
