"""Rows of several edit seeds become one value: against closed forms, and as reports show them."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest
from scipy import stats as scipy_stats

from tests.helpers.report import put_cell
from tests.helpers.stats import prompts
from varbench.metrics.stats import (
    PairedSamples,
    between_edits,
    estimate,
    read_rows,
    write_rows,
)
from varbench.metrics.stats.edits import NO_EDITS
from varbench.report import load_records
from varbench.store import Store

CLUSTERS = prompts(40, 4)


def seeds_of(kind: str, count: int = 3) -> list[PairedSamples]:
    """Rows of `count` edit seeds on the same 40 prompts with 4 images each."""
    rng = np.random.default_rng(5)
    base = rng.random(160) < 0.9
    if kind == "mean":
        values = rng.random(160)
        return [
            PairedSamples("mean", values - 0.1 * rng.random(160), values, CLUSTERS)
            for _ in range(count)
        ]
    hits = [base & (rng.random(160) < 0.2) for _ in range(count)]
    statistic = "erasure_rate" if kind == "erasure_rate" else "mean"
    return [PairedSamples(statistic, hit, base, CLUSTERS) for hit in hits]  # type: ignore[arg-type]


def test_the_value_is_the_mean_of_the_seeds_values() -> None:
    for kind in ("mean", "rate", "erasure_rate"):
        seeds = seeds_of(kind)
        whole, singles = estimate(seeds), [estimate([one]) for one in seeds]
        assert whole is not None
        for side in ("value", "difference"):
            values = [getattr(one, side).value for one in singles]
            assert getattr(whole, side).value == pytest.approx(np.mean(values))


def test_the_interval_of_equal_edits_is_that_of_one() -> None:
    for kind in ("mean", "rate", "erasure_rate"):
        (one,) = seeds_of(kind, 1)
        once, thrice = estimate([one]), estimate([one] * 3)
        assert once is not None and thrice is not None
        for side in ("value", "difference"):
            single, triple = getattr(once, side), getattr(thrice, side)
            assert (triple.low, triple.high) == pytest.approx((single.low, single.high), abs=0.03)
        assert (thrice.value.n, thrice.value.clusters) == (160, 40)


def test_edits_that_vary_widen_the_interval() -> None:
    """Rates .66, .30 and .22 of three edits: three values without any other noise say as much."""
    rng = np.random.default_rng(1)
    base = np.ones(160, bool)
    edits = [PairedSamples("mean", rng.random(160) < p, base, CLUSTERS) for p in (0.66, 0.30, 0.22)]
    whole, rates = estimate(edits), [samples.method.mean() for samples in edits]
    assert whole is not None
    low, high = scipy_stats.ttest_1samp(rates, 0).confidence_interval(0.95)
    assert whole.value.low < 0.15 and whole.value.high > 0.7
    assert whole.value.high - whole.value.low <= high - low


def test_the_variance_between_edits_is_that_of_the_analysis_of_variance() -> None:
    rng = np.random.default_rng(7)
    means_EC = rng.normal(size=(3, 40)) + rng.normal(size=(3, 1)) + rng.normal(size=(1, 40))
    edits = [PairedSamples("mean", row, np.zeros(40), prompts(40, 1)) for row in means_EC]
    between = between_edits([edits]).value
    fitted = means_EC.mean(axis=1, keepdims=True) + means_EC.mean(axis=0) - means_EC.mean()
    error = ((means_EC - fitted) ** 2).sum() / (2 * 39)
    of_edits = 40 * means_EC.mean(axis=1).var(ddof=1)
    assert between.df == 2
    assert between.edits == pytest.approx((of_edits - error) / 40)
    assert between.total == pytest.approx(of_edits / 40)


def test_it_is_pooled_over_methods_and_concepts_and_one_edit_has_none() -> None:
    groups = [seeds_of("rate"), seeds_of("rate", 2), seeds_of("rate", 1)]
    assert between_edits(groups).value.df == 3
    assert between_edits([seeds_of("rate", 1)]).value == NO_EDITS
    wide = estimate(seeds_of("rate", 2), between_edits([seeds_of("rate", 2)]))
    pooled = estimate(seeds_of("rate", 2), between_edits(groups * 4))
    assert wide is not None and pooled is not None
    assert pooled.value.high - pooled.value.low < wide.value.high - wide.value.low


def test_an_erasure_rate_needs_hits_of_the_base_model_in_every_seed() -> None:
    base = np.zeros(160, bool)
    base[::4][:29] = True
    assert estimate([PairedSamples("erasure_rate", ~base, base, CLUSTERS)] * 3) is None
    assert estimate([PairedSamples("mean", np.ones(4), np.ones(4), np.array(["a"] * 4))]) is None


def test_rows_survive_the_disk(tmp_path: Path) -> None:
    rows = {"acc_n": seeds_of("rate")[0], "erasure_rate": seeds_of("erasure_rate")[0]}
    write_rows(tmp_path / "rows.npz", rows)
    restored = read_rows(tmp_path / "rows.npz")
    assert list(restored) == list(rows)
    for metric, samples in rows.items():
        assert restored[metric].statistic == samples.statistic
        assert restored[metric].method.dtype == np.bool_
        for side in ("method", "base", "clusters"):
            assert (getattr(restored[metric], side) == getattr(samples, side)).all()


def test_rows_of_a_newer_version_are_refused(tmp_path: Path) -> None:
    np.savez(tmp_path / "rows.npz", **{"acc_n.median.method": np.zeros(2)})
    with pytest.raises(ValueError, match="unknown statistic 'median'"):
        read_rows(tmp_path / "rows.npz")


def test_a_report_pools_the_rows_of_the_seeds(tmp_path: Path) -> None:
    store = Store(tmp_path)
    seeds = seeds_of("rate")
    for seed, rows in enumerate(seeds):
        put_cell(store, "svare", seed=seed, rows={"acc_n": rows})
    records = {record.metric: record for record in load_records(store) if record.seed is None}
    whole = estimate(seeds)
    assert whole is not None
    mean = records["acc_n"]
    expected = (whole.value.value, whole.value.low, whole.value.high)
    assert (mean.value, mean.ci_low, mean.ci_high) == pytest.approx(expected)
    assert mean.diff_low == pytest.approx(whole.difference.low)
    assert (mean.seeds, mean.n) == (3, 200)
    # A number without rows: the mean of the seeds' ends.
    assert records["kid_base"].ci_high == pytest.approx(0.02)
