"""Results files published from a store: complete, unchanged, reproducible byte by byte."""

from __future__ import annotations

import json
import shutil
from pathlib import Path
from typing import Any

import pandas as pd
import pytest

import varbench
from tests.helpers.leaderboard import METHOD, SMALL, clone
from varbench.leaderboard.json_files import ResultsError, layout
from varbench.leaderboard.publish import publish
from varbench.leaderboard.results import Difference, Result, read
from varbench.report import Filters, ReportError, load_cells, load_records
from varbench.store import Store


@pytest.fixture
def store(small_store: Path, tmp_path: Path) -> Store:
    """A copy that a test may add to."""
    shutil.copytree(small_store, tmp_path / "store")
    return Store(tmp_path / "store")


def test_a_file_has_the_values_of_the_cells(small_store: Path, tmp_path: Path) -> None:
    files = publish(Store(small_store), tmp_path)
    assert [p.relative_to(tmp_path).as_posix() for p in files] == [
        f"gallery/face-ada/{METHOD}.json",
        "gallery/face-ada/none.json",
    ]
    (cell,) = (c for c in load_cells(Store(small_store)) if c.method == METHOD)
    result = read(files[0])
    assert (result.suite, result.embedded, result.default) == ("smoke", True, True)
    assert [run.command for run in result.provenance.runs] == [cell.body["command"]]
    assert result.provenance.model_fingerprint == cell.body["provenance"]["model_fingerprint"]
    assert result.provenance.resolved_config["suite"]["groups"]["target"]["prompts"] == 2
    assert [cost.metric for cost in result.costs.values] == list(cell.costs)
    records = {record["metric"]: record for record in cell.body["records"]}
    assert [m.metric for m in result.metrics] == list(records)
    for metric in result.metrics:
        record = records[metric.metric]
        for name in ("value", "ci_low", "ci_high", "baseline"):
            ours, theirs = getattr(metric, name), record[name]
            assert ours == (None if theirs is None else pytest.approx(theirs, rel=1e-5)), metric
        assert (metric.n, metric.note) == (record["n"], record["note"])
    rates = {m.metric: m.statistic for m in result.metrics}
    assert rates["acc_u"] == "mean" and rates["fid_base"] is None


def test_the_same_store_gives_the_same_bytes(small_store: Path, tmp_path: Path) -> None:
    first = publish(Store(small_store), tmp_path / "a")
    bytes_of = [path.read_bytes() for path in first]
    assert [p.read_bytes() for p in publish(Store(small_store), tmp_path / "a")] == bytes_of
    assert [p.read_bytes() for p in publish(Store(small_store), tmp_path / "b")] == bytes_of
    for path in first:
        assert read(path).text() == path.read_text(encoding="utf-8")
        assert max(map(len, path.read_text(encoding="utf-8").splitlines()[:40])) <= 160
        assert path.stat().st_size < 20_000


def test_edit_seeds_become_one_file_with_the_reported_numbers(store: Store, tmp_path: Path) -> None:
    clone(store, 1)
    publish(store, tmp_path / "lb", Filters(method=(METHOD,)))
    result = read(tmp_path / "lb" / "gallery" / "face-ada" / f"{METHOD}.json")
    acc_u = next(m for m in result.metrics if m.metric == "acc_u")
    assert [one.seed for one in acc_u.seeds] == [0, 1] and acc_u.n == 8
    (mean,) = (
        record
        for record in load_records(store)
        if (record.metric, record.method, record.seed) == ("acc_u", METHOD, None)
    )
    assert acc_u.value == pytest.approx(mean.value, rel=1e-5)
    assert acc_u.value != pytest.approx(acc_u.seeds[0].value)  # the rows of both were pooled
    assert [run.seed for run in result.provenance.runs] == [0, 1]


def test_files_read_back_are_the_stores_table(store: Store, tmp_path: Path) -> None:
    clone(store, 1)
    publish(store, tmp_path / "lb")
    frames = varbench.load_results(tmp_path / "lb"), varbench.load_results(store.root)
    ours, theirs = (frame.drop(columns="settings") for frame in frames)
    pd.testing.assert_frame_equal(ours, theirs, rtol=1e-5)
    assert {"value", "ci_low", "ci_high", "n", "baseline", "diff_value", "seed"} <= set(ours)
    with pytest.raises(ResultsError, match="no results files"):
        varbench.load_results(tmp_path)


def test_changed_settings_are_published_as_variants_only(store: Store, tmp_path: Path) -> None:
    def other(body: dict[str, Any]) -> None:
        body["config"], body["overrides"] = "0123abcd", [*SMALL, "method.prompt=a"]
        for record in body["records"]:
            record["config"] = "0123abcd"

    config = next(cell.spec["config"] for cell in load_cells(store) if cell.method == METHOD)
    clone(store, 0, other, config={**config, "method": {"prompt": "a"}})
    assert len(publish(store, tmp_path / "a")) == 2
    files = publish(store, tmp_path / "b", variants=True)
    assert [path.name for path in files] == [
        f"{METHOD}.0123abcd.json",
        f"{METHOD}.json",
        "none.json",
    ]
    assert not read(files[0]).default and read(files[1]).default


def test_cells_that_do_not_fit_one_file_are_refused(store: Store, tmp_path: Path) -> None:
    scorers = {"clip": [3, "other"]}
    clone(store, 1, scorers=scorers)
    with pytest.raises(ResultsError, match=r"several settings .*scorers.*--settings"):
        publish(store, tmp_path / "lb")

    def on_another_suite(body: dict[str, Any]) -> None:
        body["suite"] = "tune"

    clone(store, 0, on_another_suite, suite="tune")
    with pytest.raises(ResultsError, match=r"several suites \(smoke, tune\).*--suite"):
        publish(store, tmp_path / "lb")
    with pytest.raises(ReportError, match="no results for concept 'church'"):
        publish(store, tmp_path / "lb", Filters(concept=("church",)))
    assert not (tmp_path / "lb").exists()


def test_paths_of_joint_edits_and_unsafe_names(small_store: Path, tmp_path: Path) -> None:
    result = read(publish(Store(small_store), tmp_path)[0])
    joint = result.model_copy(update={"concept": "church of church+clock"})
    assert joint.path.parent == Path("gallery") / "church-of-church+clock"
    assert Result.model_validate_json(joint.hashed().text()).concept == joint.concept
    for name in ("../../x", "a/b", ".hidden", ""):
        text = result.model_copy(update={"method": name}).hashed().text()
        with pytest.raises(ValueError, match="method"):
            Result.model_validate_json(text)


def test_numbers_are_rounded_and_layout_is_json() -> None:
    made = Difference(value=1 / 3, low=-123456.789, high=1e-9 / 3)
    assert (made.value, made.low, made.high) == (0.333333, -123457.0, 3.33333e-10)
    odd = {"a": [], "b": {}, "c": ["x" * 160, {"é": None}], 'd"': [list(range(80))], "e": True}
    assert json.loads(layout(odd)) == odd
