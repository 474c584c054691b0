"""Rows beside results files: all numbers and ties come from them again, without images."""

from __future__ import annotations

import json
import lzma
import shutil
from dataclasses import replace
from pathlib import Path
from typing import Any
from unittest import mock

import numpy as np
import pandas as pd
import pytest

import varbench
from tests.helpers.cli import varbench as cli
from tests.helpers.leaderboard import METHOD, clone
from tools.results import supersede
from varbench.leaderboard.check import check
from varbench.leaderboard.json_files import ResultsError
from varbench.leaderboard.publish import publish
from varbench.leaderboard.results import Result, read, write
from varbench.leaderboard.rows import packed, read_rows, sha256_of, write_rows
from varbench.metrics.stats import Interval, PairedSamples, clustered_mean, means
from varbench.report import Filters
from varbench.store import Store

FACE = Path("gallery") / "face-ada"


@pytest.fixture
def store(small_store: Path, tmp_path: Path) -> Store:
    """Two edits of one method, of which the second differs, and a second method like them."""
    shutil.copytree(small_store, tmp_path / "store")
    store = Store(tmp_path / "store")
    clone(store, 1)

    def other(body: dict[str, Any]) -> None:
        body["method"] = "sld"
        for record in body["records"]:
            record["method"] = "sld"

    for seed in (0, 1):
        clone(store, seed, other, method="sld")
    return store


@pytest.fixture
def results(store: Store, tmp_path: Path) -> Path:
    """A results folder with a leaderboard published from the store."""
    publish(store, tmp_path / "results" / "leaderboard")
    return tmp_path / "results"


def of(results: Path, name: str = METHOD) -> Result:
    return read(results / "leaderboard" / FACE / f"{name}.json")


def messages(results: Path) -> list[str]:
    return [f"{Path(file).name}: {message}" for file, message in check(results).problems]


def test_a_report_of_the_files_is_that_of_the_store(store: Store, results: Path) -> None:
    """All numbers, pooled intervals, and (in a paper's table) the ties."""
    files = results / "leaderboard"
    frames = varbench.load_results(files), varbench.load_results(store.root)
    ours, theirs = (frame.drop(columns="settings") for frame in frames)
    pd.testing.assert_frame_equal(ours, theirs, rtol=1e-5)
    assert set(ours.edit_df.dropna()) == {2}  # one degree of freedom of each method
    for table in ("main", "difference", "paper"):
        options = ("--format", "md", "--table", table)
        shown = cli("report", "--results", files, *options)
        assert shown.exit_code == 0, shown.output
        assert shown.stdout == cli("report", "--store", store.root, *options).stdout
        assert ("**" in shown.stdout) == (table == "paper")


def test_rows_are_a_table_of_both_models(store: Store, results: Path) -> None:
    path = results / "leaderboard" / FACE / f"{METHOD}.rows.csv.xz"
    frame = pd.read_csv(path)
    assert list(frame) == ["seed", "metric", "statistic", "kind", "prompt", "method", "base"]
    assert set(frame.metric) == {"acc_e", "acc_n", "acc_u", "clip_score", "vendi"}
    acc_u = frame[(frame.metric == "acc_u") & (frame.seed == 1)]
    published = next(metric for metric in of(results).metrics if metric.metric == "acc_u")
    assert acc_u.groupby("prompt").method.mean().mean() == pytest.approx(published.seeds[1].value)
    assert acc_u.groupby("prompt").base.mean().mean() == pytest.approx(published.baseline)
    before = path.read_bytes()
    publish(store, results / "leaderboard")
    assert path.read_bytes() == before


def test_rows_come_back_with_all_digits(results: Path) -> None:
    prompts, numbers = np.array(["a", 'b,"c"', "ü"]), np.array([1 / 3, -1e-300, 5e22])
    rows = {
        4: {
            "hits": PairedSamples("mean", numbers > 0, numbers < 9, prompts),
            "counts": PairedSamples("total", np.arange(3), np.zeros(3, np.int64), prompts),
            "numbers": PairedSamples("ratio", numbers, np.ones(3), prompts),
        },
        0: {},
    }
    result = of(results).model_copy(update={"rows_sha256": sha256_of(packed(rows))})
    write_rows(results, result, packed(rows))
    (seed, again), *_ = read_rows(results, result).items()
    assert seed == 4 and list(again) == ["hits", "counts", "numbers"]
    for name, samples in again.items():
        assert samples.statistic == rows[4][name].statistic
        for side in ("method", "base", "clusters"):
            ours, theirs = getattr(samples, side), getattr(rows[4][name], side)
            assert ours.tolist() == theirs.tolist() and ours.dtype.kind == theirs.dtype.kind
    empty = result.model_copy(update={"rows_sha256": sha256_of(packed({}))})
    write_rows(results, empty, packed({}))
    assert read_rows(results, empty) == {}


def test_wrong_rows_are_found(results: Path) -> None:
    path = results / "leaderboard" / of(results).rows_path
    whole, base = path.read_bytes(), path.with_name("none.rows.csv.xz").read_bytes()
    for content, words in (
        (base, "not the rows that"),
        (whole[:-9], "not the rows that"),
        (None, "the rows of neg-prompt.json are missing"),
    ):
        path.unlink() if content is None else path.write_bytes(content)
        (message,) = messages(results)
        assert message.startswith(f"{path.name}: ") and words in message
        done = cli("report", "--results", results / "leaderboard", "--table", "paper")
        assert done.exit_code == 2 and words in done.output.replace("\n", " ")
    text = lzma.decompress(whole).decode()
    for broken, words in (
        (b"no archive", "holds no rows"),
        (lzma.compress(b"a,b\n1,2\n"), "holds no rows"),
        (lzma.compress(text.replace(",mean,", ",median,").encode()), "unknown statistic 'median'"),
        (lzma.compress(text.replace(",hit,", ",miss,").encode()), "holds no rows ('miss')"),
        (lzma.compress(text.replace(",mean,", ",total,").encode()), "gives no values"),
    ):
        path.write_bytes(broken)
        result = of(results).model_copy(update={"rows_sha256": sha256_of(broken)}).hashed()
        write(results / "leaderboard", result)
        done = cli("check", results, "--files-only", "--incomplete")
        assert done.exit_code in (1, 2) and words in done.output, done.output
    result = result.model_copy(update={"rows_sha256": None}).hashed()
    write(results / "leaderboard", result)
    assert any("not the rows that" in message for message in messages(results))


def test_publishing_a_part_renews_the_others(store: Store, results: Path, tmp_path: Path) -> None:
    """The variance between edits is of all files, whatever the order that they came in."""
    parts = tmp_path / "parts" / "leaderboard"
    publish(store, parts, Filters(method=("sld",)))
    alone = read(parts / FACE / "sld.json")
    publish(store, parts, Filters(method=(METHOD,)))
    for path in (results / "leaderboard").rglob("*.*"):
        assert (parts / path.relative_to(results / "leaderboard")).read_bytes() == path.read_bytes()
    assert read(parts / FACE / "sld.json") != alone
    assert messages(tmp_path / "parts") == []
    write(parts, alone.model_copy(update={"suite": "tune"}))
    with pytest.raises(ResultsError, match="edited by hand"):
        publish(store, parts, Filters(method=(METHOD,)))


def test_mended_intervals_need_no_run(results: Path) -> None:
    files = results / "leaderboard"
    before = {path: path.read_bytes() for path in files.rglob("*.json")}
    assert cli("publish", "--out", files, "--from-rows").stderr == ""

    def wider(*args: Any) -> Interval:
        interval = clustered_mean(*args)
        return replace(interval, low=interval.low - 1, high=interval.high + 1)

    with mock.patch.object(means, "clustered_mean", wider):
        wrong = messages(results)
        assert any(m.startswith(f"{METHOD}.json: clip_score: ci_low is ") for m in wrong)
        assert not any(name in message for message in wrong for name in ("acc_", "fid_base"))
        assert all("varbench publish --from-rows" in message for message in wrong)
        done = cli("publish", "--out", files, "--from-rows")
        assert done.exit_code == 0 and f"{METHOD}.json" in done.output
        assert messages(results) == []
    assert messages(results) != []
    cli("publish", "--out", files, "--from-rows")
    assert {path: path.read_bytes() for path in before} == before
    done = cli("publish", "--out", files, "--from-rows", "--method", METHOD)
    assert done.exit_code == 2 and "--from-rows reads no store" in done.output


def test_superseded_files_are_left_out_unless_asked_for(
    store: Store, results: Path, caplog: pytest.LogCaptureFixture
) -> None:
    files = results / "leaderboard"
    assert supersede.main([str(files / FACE / "sld.json")]) is None
    assert set(varbench.load_results(files).method) == {"none", METHOD}
    assert "1 superseded results" in caplog.text
    frame = varbench.load_results(files, superseded=True)
    assert set(frame[frame.method == "sld"].status) == {"superseded"}
    done = cli("report", "--results", files, "--table", "main")
    assert done.exit_code == 0 and "sld" not in done.stdout
    done = cli("report", "--results", files, "--superseded", "--table", "paper")
    assert done.exit_code == 0 and "sld" in done.stdout, done.output
    assert cli("report", "--superseded").exit_code == 2
    supersede.main([str(file) for file in files.rglob("*.json")])
    with pytest.raises(ResultsError, match=r"all 3 results .*superseded=True"):
        varbench.load_results(files)
    publish(store, files)
    assert of(results, "sld").status == "measured" and messages(results) == []


def test_superseded_files_need_not_fit_the_others(results: Path) -> None:
    path = results / "leaderboard" / FACE / "sld.json"
    made = of(results, "sld").provenance.model_copy(update={"prompts_sha256": "0" * 64})
    others = of(results, "sld").model_copy(update={"provenance": made, "rows_sha256": None})
    write(results / "leaderboard", others.hashed())
    path.with_name("sld.rows.csv.xz").unlink()
    assert {message.partition(":")[0] for message in messages(results)} == {
        "sld.json", "sld.rows.csv.xz",
    }  # fmt: skip
    supersede.supersede([path])
    findings = check(results)
    assert findings.problems == () and "3 results files (1 superseded)" in findings.text()
    assert "sld" not in findings.gaps[0].message  # there, if not measured again
    body = json.loads(path.read_text())
    path.write_text(json.dumps(body | {"suite": "tune"}))
    assert "edited by hand" in (supersede.main([str(path)]) or "")
    assert [message for message in messages(results) if "edited by hand" in message]
