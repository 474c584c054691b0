"""Tests between methods against closed forms and scipy."""

from __future__ import annotations

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from scipy import stats as scipy_stats

from tests.helpers.stats import prompts
from varbench.metrics.stats import PairedSamples, between_edits, equality, holm, tests
from varbench.metrics.stats.tests import paired_sign_flip_pvalue


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


# --- methods over prompts and edits -------------------------------------------------------------

CLUSTERS = prompts(40, 4)


def edits_of(rate: float, spread: float, seed: int) -> list[PairedSamples]:
    """Three edits whose rates differ by `spread` from one to the next."""
    rng = np.random.default_rng(seed)
    rates = (rate - spread, rate, rate + spread)
    base = np.ones(160, bool)
    return [PairedSamples("mean", rng.random(160) < each, base, CLUSTERS) for each in rates]


def test_methods_that_differ_are_told_apart() -> None:
    steady, lower = edits_of(0.9, 0.0, 1), edits_of(0.6, 0.0, 2)
    assert equality(steady, lower, between_edits([steady, lower]).value) == pytest.approx(
        0, abs=1e-3
    )
    assert equality(steady, steady, between_edits([steady]).value) == 1.0


def test_edits_that_vary_tell_less_than_their_prompts() -> None:
    """The same two means, but the second method's edits lie far apart."""
    steady, varied = edits_of(0.5, 0.0, 3), edits_of(0.65, 0.3, 4)
    over_prompts = equality(steady, varied)
    over_both = equality(steady, varied, between_edits([steady, varied]).value)
    assert over_prompts is not None and over_both is not None
    assert over_prompts < 0.01 and over_both > 0.05


def test_methods_on_other_prompts_are_not_compared() -> None:
    (ours, *_), other = edits_of(0.5, 0.0, 5), np.ones(8, bool)
    assert equality([ours], [PairedSamples("mean", other, other, prompts(2, 4))]) is None
    alone = PairedSamples("mean", other, other, prompts(1, 8))
    assert equality([alone], [alone]) is None
