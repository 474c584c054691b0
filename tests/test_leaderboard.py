"""Published results: what a store measured, whole and unchanged, and what keeps it honest."""

from __future__ import annotations

import json
import shutil
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
import pytest
from jsonschema import Draft202012Validator, ValidationError
from typer.testing import CliRunner

import varbench
from varbench.cli import app
from varbench.leaderboard.check import CONCEPTS, check
from varbench.leaderboard.files import (
    Difference,
    Result,
    ResultsError,
    layout,
    read,
    results_files,
    write,
)
from varbench.leaderboard.publish import publish
from varbench.leaderboard.schema import FOLDER, KINDS, schema
from varbench.methods.registry import METHODS, NONE
from varbench.report import Filters, ReportError, load_cells, load_records
from varbench.rows import Rows, read_rows, write_rows
from varbench.store import Store

SIZES = {"prompts": 2, "seeds": 2}
SMALL = [
    *(
        f"suite.groups.{group}.{size}={count}"
        for group in ("target", "neighbours", "unrelated")
        for size, count in SIZES.items()
    ),
    "suite.block=4",
    "suite.probe.prompts=0",
    "suite.metrics=[acc_e,acc_n,acc_u,fid_base,clip_score,vendi]",
    "suite.robustness.prompts=0",
]
METHOD = "neg-prompt"  # changes sampling only, so it trains nothing
EDIT = Callable[[dict[str, Any]], None]


def run_cli(*args: str | Path) -> Any:
    return CliRunner().invoke(app, [str(arg) for arg in args])


def clone(store: Store, seed: int, edit: EDIT = lambda body: None, **spec: Any) -> None:
    """Another edit seed of the method's cell, with numbers of its own."""
    entry = next(e for e in store.entries("cell") if e.json("cell.json")["method"] == METHOD)
    body, rows = entry.json("cell.json"), read_rows(entry.path("rows.npz"))
    body["seed"] = seed
    body["command"] = body["command"].replace("--seed 0", f"--seed {seed}")
    for record in body["records"]:
        record["seed"] = seed
    # One picture fewer is right: a difference that pooling has to find in the rows.
    old = rows["acc_u"]
    hits = old.method.copy()
    hits[np.flatnonzero(hits)[0]] = False
    rows["acc_u"] = Rows(old.statistic, hits, old.base, old.clusters)
    edit(body)
    with store.write("cell", {**entry.spec, "seed": seed, **spec}) as writer:
        (writer.dir / "cell.json").write_text(json.dumps(body))
        write_rows(writer.dir / "rows.npz", rows)


@pytest.fixture(scope="module")
def single(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A store with a run of the unerased model and one method."""
    folder = tmp_path_factory.mktemp("single") / "store"
    result = run_cli("run", "--method", METHOD, "--store", folder, *SMALL)
    assert result.exit_code == 0, result.output
    return folder


@pytest.fixture
def store(single: Path, tmp_path: Path) -> Store:
    """A copy that a test may add to."""
    shutil.copytree(single, tmp_path / "store")
    return Store(tmp_path / "store")


@pytest.fixture(scope="module")
def complete(single: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A results folder that is complete: the two measured files stand for all the others."""
    folder = tmp_path_factory.mktemp("complete")
    leaderboard = folder / "leaderboard"
    method, base = (read(path) for path in publish(Store(single), folder / "one"))
    assert (base.method, method.method) == (NONE, METHOD)
    for concept in CONCEPTS:
        write(leaderboard, base.model_copy(update={"concept": concept}).sealed())
        for name in METHODS:
            named = {"concept": concept, "method": name}
            write(leaderboard, method.model_copy(update=named).sealed())
    shutil.rmtree(folder / "one")
    return folder


@pytest.fixture
def results(complete: Path, tmp_path: Path) -> Path:
    """A copy that a test may spoil."""
    shutil.copytree(complete, tmp_path / "results")
    return tmp_path / "results"


def test_a_file_holds_what_the_cells_say(single: Path, tmp_path: Path) -> None:
    files = publish(Store(single), tmp_path)
    assert [p.relative_to(tmp_path).as_posix() for p in files] == [
        f"gallery/face-ada/{METHOD}.json",
        "gallery/face-ada/none.json",
    ]
    (cell,) = (c for c in load_cells(Store(single)) if c.method == METHOD)
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


def test_the_same_store_gives_the_same_bytes(single: Path, tmp_path: Path) -> None:
    first = publish(Store(single), tmp_path / "a")
    bytes_of = [path.read_bytes() for path in first]
    assert [p.read_bytes() for p in publish(Store(single), tmp_path / "a")] == bytes_of
    assert [p.read_bytes() for p in publish(Store(single), tmp_path / "b")] == bytes_of
    for path in first:
        assert read(path).text() == path.read_text(encoding="utf-8")
        assert max(map(len, path.read_text(encoding="utf-8").splitlines()[:40])) <= 160
        assert path.stat().st_size < 20_000


def test_seeds_become_one_file_with_the_reports_numbers(store: Store, tmp_path: Path) -> None:
    clone(store, 1)
    publish(store, tmp_path / "lb", Filters(method=(METHOD,)))
    result = read(tmp_path / "lb" / "gallery" / "face-ada" / f"{METHOD}.json")
    acc_u = next(m for m in result.metrics if m.metric == "acc_u")
    assert [one.seed for one in acc_u.seeds] == [0, 1] and acc_u.n == 8
    shown = load_records(store)
    rows = shown[(shown["metric"] == "acc_u") & (shown["method"] == METHOD)]
    mean = rows[rows["seed"].isna()].iloc[0]
    assert acc_u.value == pytest.approx(mean["value"], rel=1e-5)
    assert acc_u.value != pytest.approx(acc_u.seeds[0].value)  # the rows of both were pooled
    assert [run.seed for run in result.provenance.runs] == [0, 1]


def test_files_read_back_are_the_stores_table(store: Store, tmp_path: Path) -> None:
    clone(store, 1)
    publish(store, tmp_path / "lb")
    ours, theirs = varbench.load_results(tmp_path / "lb"), varbench.load_results(store.root)
    pd.testing.assert_frame_equal(ours, theirs, rtol=1e-5)
    assert {"value", "ci_low", "ci_high", "n", "baseline", "diff_value", "seed"} <= set(ours)
    with pytest.raises(ResultsError, match="no results files"):
        varbench.load_results(tmp_path)


def test_settings_of_ones_own_are_published_only_when_asked(store: Store, tmp_path: Path) -> None:
    def other(body: dict[str, Any]) -> None:
        body["config"], body["overrides"] = "0123abcd", [*SMALL, "method.prompt=a"]
        for record in body["records"]:
            record["config"] = "0123abcd"

    clone(store, 0, other, config={"method": {"prompt": "a"}})
    assert len(publish(store, tmp_path / "a")) == 2
    files = publish(store, tmp_path / "b", variants=True)
    assert [path.name for path in files] == [
        f"{METHOD}.0123abcd.json",
        f"{METHOD}.json",
        "none.json",
    ]
    assert not read(files[0]).default and read(files[1]).default


def test_what_cannot_be_one_file_is_refused(store: Store, tmp_path: Path) -> None:
    scorers = {"clip": [3, "other"]}
    clone(store, 1, scorers=scorers)
    with pytest.raises(ResultsError, match=r"seeds 0 and 1 of neg-prompt .* different scorers"):
        publish(store, tmp_path / "lb")

    def on_another_suite(body: dict[str, Any]) -> None:
        body["suite"] = "tune"

    clone(store, 0, on_another_suite, suite="tune")
    with pytest.raises(ResultsError, match=r"several suites \(smoke, tune\).*--suite"):
        publish(store, tmp_path / "lb")
    with pytest.raises(ReportError, match="no results for concept 'church'"):
        publish(store, tmp_path / "lb", Filters(concept=("church",)))
    assert not (tmp_path / "lb").exists()


def test_a_joint_edits_share_and_odd_names(results: Path) -> None:
    one = read(results_files(results / "leaderboard")[0])
    joint = one.model_copy(update={"concept": "church of church+clock"})
    assert joint.place.parent == Path("gallery") / "church-of-church+clock"
    assert Result.model_validate_json(joint.sealed().text()).concept == joint.concept
    for name in ("../../x", "a/b", ".hidden", ""):
        text = one.model_copy(update={"method": name}).sealed().text()
        with pytest.raises(ValueError, match="method"):
            Result.model_validate_json(text)


def test_numbers_are_rounded_and_layout_is_json() -> None:
    made = Difference(value=1 / 3, low=-123456.789, high=1e-9 / 3)
    assert (made.value, made.low, made.high) == (0.333333, -123457.0, 3.33333e-10)
    odd = {"a": [], "b": {}, "c": ["x" * 160, {"é": None}], 'd"': [list(range(80))], "e": True}
    assert json.loads(layout(odd)) == odd


def test_a_complete_folder_passes(results: Path) -> None:
    findings = check(results)
    assert findings.problems == ()
    assert findings.measured == len(CONCEPTS) * (len(METHODS) + 1)
    done = run_cli("check", results)
    assert done.exit_code == 0 and "no problem found" in done.output
    assert run_cli("check", results / "nothing").exit_code == 2


def metric_edit(name: str, **update: Any) -> Callable[[Result], Result]:
    """Replaces fields of one metric; the file's hash is made to fit."""

    def edit(result: Result) -> Result:
        metrics = tuple(
            m.model_copy(update=update) if m.metric == name else m for m in result.metrics
        )
        return result.model_copy(update={"metrics": metrics}).sealed()

    return edit


def seed_edit(name: str, **update: Any) -> Callable[[Result], Result]:
    """Replaces fields of one metric's only seed."""

    def edit(result: Result) -> Result:
        metric = next(m for m in result.metrics if m.metric == name)
        seeds = (metric.seeds[0].model_copy(update=update),)
        return metric_edit(name, seeds=seeds)(result)

    return edit


def provenance_edit(**update: Any) -> Callable[[Result], Result]:
    def edit(result: Result) -> Result:
        made = result.provenance.model_copy(update=update)
        return result.model_copy(update={"provenance": made}).sealed()

    return edit


def twice(result: Result) -> Result:
    return result.model_copy(update={"metrics": (*result.metrics, result.metrics[0])}).sealed()


HASH = "ab" * 32
WORSE: dict[str, tuple[Callable[[Result], Result], str]] = {
    "edited by hand": (
        lambda r: metric_edit("acc_e", value=0.0)(r).model_copy(update={"sha256": r.sha256}),
        "edited by hand",
    ),
    "outside its interval": (
        metric_edit("clip_score", ci_low=99.0, ci_high=99.5),
        "clip_score: the mean's value is not in its interval",
    ),
    "half an interval": (metric_edit("clip_score", ci_low=None), "clip_score: the mean's value"),
    "difference": (
        metric_edit("clip_score", difference=Difference(value=9.0, low=8.0, high=10.0)),
        "clip_score: the mean's difference is 9",
    ),
    "difference outside": (
        metric_edit("acc_u", difference=Difference(value=0.0, low=0.1, high=0.2)),
        "acc_u: the mean's difference is not in its interval",
    ),
    "above 1": (metric_edit("acc_n", value=1.5, ci_high=1.6), "outside 0.0 to 1.0"),
    "baseline": (metric_edit("vendi", baseline=9.0), "vendi: baseline 9, but none.json has"),
    "another n": (seed_edit("vendi", n=7), "vendi: n of a seed is 7, but"),
    "n of the seeds": (metric_edit("vendi", n=99), "vendi: n is 99, but its seeds have"),
    "mean of the seeds": (
        seed_edit("fid_base", value=1.0),
        "fid_base: the value is",
    ),
    "seed_max": (metric_edit("fid_base", seed_max=1e6), "seed_min and seed_max"),
    "old definition": (metric_edit("acc_e", version=0), "acc_e: defined as of version 0, now"),
    "versions apart": (metric_edit("acc_e", version=0), "acc_e: version 0, but"),
    "twice": (twice, "is there twice"),
    "prompts": (provenance_edit(prompts_sha256=HASH), "another prompts than none.json"),
    "suite": (provenance_edit(suite_sha256=HASH), "another suite than none.json"),
    "concept": (provenance_edit(concept_sha256=HASH), "another concept than none.json"),
    "model": (provenance_edit(model_fingerprint="x"), "another model than none.json"),
    "scorers": (provenance_edit(scorers=()), "another scorers than none.json"),
    "place": (
        lambda r: r.model_copy(update={"default": False}).sealed(),
        f"belongs at gallery/church/{METHOD}.",
    ),
}


@pytest.mark.parametrize(("edit", "words"), WORSE.values(), ids=WORSE)
def test_a_worse_file_is_found(results: Path, edit: Callable[[Result], Result], words: str) -> None:
    path = results / "leaderboard" / "gallery" / "church" / f"{METHOD}.json"
    path.write_text(edit(read(path)).text(), encoding="utf-8")
    problems = check(results).problems
    assert any(words in problem.what for problem in problems), problems
    assert all("church" in problem.file for problem in problems)


def test_missing_and_malformed_files_are_found(results: Path) -> None:
    church = results / "leaderboard" / "gallery" / "church"
    (church / "uce.json").unlink()
    (found,) = check(results).problems
    assert found.file == "leaderboard/gallery/church" and "lacks uce" in found.what
    done = run_cli("check", results)
    assert done.exit_code == 1 and found.what in done.output and "1 problem" in done.output
    (church / "none.json").unlink()
    whats = [problem.what for problem in check(results).problems]
    assert any("lacks none, uce" in what for what in whats)
    assert any("none.json is not beside it" in what for what in whats)
    text = (church / "esd.json").read_text(encoding="utf-8")
    for broken, words in (
        (text[:-40], "Invalid JSON"),
        (text.replace('"suite"', '"swiet"'), "suite: Field required"),
        (text.replace('"status": "measured"', '"status": "reported"'), "status: Input should be"),
    ):
        (church / "esd.json").write_text(broken, encoding="utf-8")
        assert any(
            p.file.endswith("church/esd.json") and words in p.what for p in check(results).problems
        ), words


def test_reports_from_files(results: Path, tmp_path: Path) -> None:
    leaderboard = results / "leaderboard"
    done = run_cli(
        "report", "--results", leaderboard, "--concept", "church", "--method", "esd,uce",
        "--format", "md", "--table", "main",
    )  # fmt: skip
    assert done.exit_code == 0, done.output
    assert [line.split()[1] for line in done.output.splitlines() if line.startswith("| ")] == [
        "method", "none", "esd", "uce",
    ]  # fmt: skip
    only = ("--concept", "church", "--method", METHOD)
    done = run_cli("report", "--results", leaderboard, *only, "--out", tmp_path / "out")
    page = (tmp_path / "out" / "index.html").read_text(encoding="utf-8")
    assert "made from results files" in page and "<img" not in page
    assert f"varbench run --model gallery --method {METHOD}" in page
    assert "pictures behind them" in page


def test_the_published_schemas_are_those_of_the_classes(results: Path) -> None:
    for kind in KINDS:
        published = json.loads((FOLDER / f"{kind}.schema.json").read_text(encoding="utf-8"))
        assert published == schema(kind), "renew it: see varbench/leaderboard/schema.py"
        Draft202012Validator.check_schema(published)
    measured = Draft202012Validator(schema("leaderboard"))
    for path in results_files(results / "leaderboard")[:3]:
        body = json.loads(path.read_text(encoding="utf-8"))
        measured.validate(body)
        with pytest.raises(ValidationError):
            measured.validate({**body, "rank": 1})
        with pytest.raises(ValidationError):
            measured.validate({**body, "sha256": "short"})


def test_the_repositorys_own_results_pass() -> None:
    findings = check(FOLDER.parent)
    # Not measured yet; whatever else is missing or wrong fails.
    nowhere = {"nft-distill", "nft-ascent", "salun", "first-scale"}
    on_the_face = {"nft-anchor", "ac", "fmn", "ear", "obliviate", "scaleerasure", "rece", "sld"}
    on_the_face |= {"neg-prompt"}
    concepts = ("bare-mannequin", "style-marlo-tessera", "church")
    gaps = {"face-ada": nowhere} | dict.fromkeys(concepts, nowhere | on_the_face)
    found = {}
    for one in findings.problems:
        assert one.what.startswith("lacks "), findings.text()
        names = one.what.removeprefix("lacks ").partition(":")[0]
        found[one.file.rpartition("/")[2]] = set(names.split(", "))
    assert found == gaps, findings.text()
    assert findings.reported >= 5


def test_nothing_heavy_is_loaded_for_reading(complete: Path) -> None:
    code = f"""
import sys, varbench
light = [n for n in ("pandas", "pydantic", "numpy", "torch") if n in sys.modules]
from varbench.cli import app
app(["check", {str(complete)!r}], standalone_mode=False)
app(["report", "--results", {str(complete / "leaderboard")!r}], standalone_mode=False)
print(light, [n for n in ("torch", "transformers", "scipy") if n in sys.modules])
"""
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stderr
    assert done.stdout.splitlines()[-1] == "[] []"
