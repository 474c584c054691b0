"""Rows of several edit seeds become one value: against closed forms, and as reports show them."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest

from tests.helpers.report import put_cell
from tests.helpers.stats import prompts, wilson
from varbench.metrics import stats
from varbench.metrics.stats import PairedSamples, estimate, read_rows, write_rows
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


def test_the_interval_is_a_bootstrap_over_prompts_of_the_seeds_mean() -> None:
    seeds = seeds_of("mean")
    whole = estimate(seeds)
    assert whole is not None
    mean = np.mean([one.method for one in seeds], axis=0)
    flat = stats.cluster_bootstrap_mean(mean, CLUSTERS)
    assert (whole.value.low, whole.value.high) == pytest.approx((flat.low, flat.high))
    assert (whole.value.n, whole.value.clusters) == (480, 40)


def test_the_same_edit_three_times_is_not_three_times_the_evidence() -> None:
    (one,) = seeds_of("mean", 1)
    once, thrice = estimate([one]), estimate([one] * 3)
    assert once is not None and thrice is not None
    assert (thrice.value.low, thrice.value.high) == pytest.approx((once.value.low, once.value.high))


def test_hits_everywhere_leave_room_for_a_miss() -> None:
    """A bootstrap of three perfect seeds would claim [1, 1]."""
    perfect = PairedSamples("mean", np.ones(160, bool), np.ones(160, bool), CLUSTERS)
    found = estimate([perfect] * 3)
    assert found is not None
    assert found.value.low == pytest.approx(wilson(40, 40).low)


def test_one_hit_never_tightens_a_bound() -> None:
    """One hit in 480 images: its bootstrap would claim more than no hit at all does."""
    base, none, single = np.ones(160, bool), np.zeros(160, bool), np.zeros(160, bool)
    single[7] = True
    for statistic, end in (("mean", "high"), ("erasure_rate", "low")):
        clean = PairedSamples(statistic, none, base, CLUSTERS)  # type: ignore[arg-type]
        hit = PairedSamples(statistic, single, base, CLUSTERS)  # type: ignore[arg-type]
        without, with_hit = estimate([clean] * 3), estimate([clean, clean, hit])
        assert without is not None and with_hit is not None
        bounds = [getattr(found.value, end) for found in (without, with_hit)]
        assert bounds[0] == pytest.approx(bounds[1])
        assert with_hit.value.low <= with_hit.value.value <= with_hit.value.high
    missed = estimate(
        [
            PairedSamples("mean", base, base, CLUSTERS),
            PairedSamples("mean", ~single, base, CLUSTERS),
        ]
    )
    assert missed is not None
    assert missed.value.low <= wilson(40, 40).low


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
    assert (mean.seeds, mean.n) == (3, 600)
    # A number without rows: the mean of the seeds' ends.
    assert records["kid_base"].ci_high == pytest.approx(0.02)
