"""`varbench check` measures again: unchanged methods pass, worsened ones fail."""

from __future__ import annotations

import shutil
from pathlib import Path
from typing import Any
from unittest import mock

import pytest

from tests.helpers.cli import varbench
from tests.helpers.leaderboard import METHOD, SMALL, with_metric
from varbench.leaderboard.json_files import ResultsError
from varbench.leaderboard.publish import publish
from varbench.leaderboard.reproduce import Change, changes, request_of, tolerance
from varbench.leaderboard.results import MetricValues, Result, read, write
from varbench.methods.registry import load_method
from varbench.metrics import METRICS
from varbench.store import Store


@pytest.fixture(scope="module")
def measured(small_store: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A folder with a store and results/regression published from it."""
    folder = tmp_path_factory.mktemp("measured")
    shutil.copytree(small_store, folder / "store")
    publish(Store(small_store), folder / "results" / "regression")
    (folder / "results" / "reported").mkdir()
    return folder


@pytest.fixture
def place(measured: Path, tmp_path: Path) -> Path:
    """A copy that a test may spoil."""
    shutil.copytree(measured, tmp_path / "place")
    return tmp_path / "place"


def checked(place: Path, *args: str | Path) -> Any:
    return varbench("check", place / "results", *args)


def of(place: Path, method: str) -> Result:
    return read(place / "results" / "regression" / "gallery" / "face-ada" / f"{method}.json")


def test_the_same_again_is_within_tolerance(place: Path) -> None:
    """In a new store, so everything is drawn and judged again; bits do not differ, numbers none."""
    done = checked(place, "--store", place / "new")
    assert done.exit_code == 0, done.output
    assert "2 cells measured again: all within tolerance" in done.output
    old = [of(place, "none"), of(place, METHOD)]
    again = [read(path) for path in publish(Store(place / "new"), place / "again")]
    assert {r.method: r.metrics for r in again} == {r.method: r.metrics for r in old}


def test_a_worsened_method_is_named_with_old_and_new_value(place: Path) -> None:
    def ignore_prompt(self: Any, model: Any, concept: Any, config: Any, weight: float) -> Any:
        return model.guidance(0.0)  # as if there were no prompt

    with mock.patch.object(type(load_method(METHOD)), "guidance", ignore_prompt):
        done = checked(place, "--store", place / "new")
    assert done.exit_code == 1
    (line,) = [line for line in done.output.splitlines() if " clip_score " in line]
    name, metric, old, new, verdict = line.split()
    assert (name, metric, verdict) == (f"gallery/face-ada/{METHOD}", "clip_score", "worse")
    published = next(m for m in of(place, METHOD).metrics if m.metric == "clip_score").value
    assert old == f"{published:.4g}" and float(new) < float(old) - 1
    assert not any(line.startswith("gallery/face-ada/none") for line in done.output.splitlines())


def test_an_edited_file_and_another_number_are_found(place: Path) -> None:
    result = of(place, METHOD)
    edited = with_metric(result, "clip_score", value=50.0, ci_low=49.0, ci_high=51.0)
    write(place / "results" / "regression", edited.model_copy(update={"sha256": result.sha256}))
    done = checked(place, "--files-only")
    assert done.exit_code == 1 and "edited by hand" in done.output
    done = checked(place, "--store", place / "store")
    assert done.exit_code == 1 and "clip_score" in done.output.rpartition("old")[2]


def test_a_changed_definition_is_found(place: Path) -> None:
    acc_u = METRICS["acc_u"]
    with mock.patch.dict(vars(acc_u.info), version=acc_u.info.version + 1):
        read_only = checked(place, "--files-only")
        done = checked(place, "--store", place / "store")
    assert read_only.exit_code == done.exit_code == 1
    assert "acc_u: defined as of version" in read_only.output
    assert [line for line in done.output.splitlines() if "another definition" in line]


def test_the_command_of_a_file_is_the_request(place: Path) -> None:
    result = of(place, METHOD)
    request = request_of(result, place)
    assert (request.model, request.methods, request.concepts) == (
        "gallery",
        (METHOD,),
        ("face-ada",),
    )
    assert (request.suite, request.seeds, request.overrides) == ("smoke", (0,), tuple(SMALL))
    run = result.provenance.runs[0]
    for command, words in (("rm -r x", "is not a run"), ("varbench run", "different settings")):
        runs = (run.model_copy(update={"command": command}),)
        wrong = result.provenance.model_copy(update={"runs": runs})
        with pytest.raises(ResultsError, match=words):
            request_of(result.model_copy(update={"provenance": wrong}), place)


def test_wrong_options(place: Path) -> None:
    assert checked(place, "--files-only", "--all").exit_code == 2
    assert "nothing to measure again" in varbench("check", place_without(place)).output


def place_without(place: Path) -> Path:
    shutil.rmtree(place / "results" / "regression")
    return place / "results"


def metric(value: float, low: float | None, high: float | None, **other: Any) -> MetricValues:
    rest = dict.fromkeys(
        ("version", "statistic", "n", "n_failed", "baseline", "difference", "seed_min", "seed_max")
    )
    one = {"metric": "acc_u", "prompt_set": "", "note": "", "seeds": ()} | rest | other
    return MetricValues.model_construct(value=value, ci_low=low, ci_high=high, **one)


def test_tolerances() -> None:
    assert tolerance(metric(0.5, 0.4, 0.6)) == pytest.approx(0.025)
    one_image = metric(1.0, 0.9, 1.0, statistic="mean", n=30)
    assert 1 / 30 < tolerance(one_image) < 1.01 / 30
    assert tolerance(metric(20.0, None, None, metric="fid_base")) == pytest.approx(1.0)
    assert tolerance(metric(0.0, None, None, metric="fid_base")) == 1e-4


def test_verdicts(place: Path) -> None:
    result = of(place, METHOD)
    values = {m.metric: m.value for m in result.metrics}
    worse = with_metric(result, "clip_score", value=(values["clip_score"] or 0) - 9)
    better = with_metric(result, "fid_base", value=0.0)
    gone = result.model_copy(update={"metrics": result.metrics[1:]})

    def verdicts(new: Result) -> list[tuple[str, str]]:
        return [(change.metric, change.verdict) for change in changes([result], [new])]

    assert verdicts(result) == []
    assert verdicts(worse) == [("clip_score", "worse")]
    assert verdicts(better) == [("fid_base", "better")]
    assert verdicts(gone) == [(result.metrics[0].metric, "gone")]
    (change,) = changes([result], [])
    assert isinstance(change, Change) and change.verdict == "defaults changed"
