"""Problems that `varbench check` finds in results files, and reports made from them."""

from __future__ import annotations

import json
import shutil
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

from tests.helpers.cli import varbench
from tests.helpers.leaderboard import METHOD, complete_folder, with_metric
from tests.helpers.paths import ROOT
from varbench.leaderboard.check import CONCEPTS, check
from varbench.leaderboard.results import Difference, Result, read
from varbench.methods.registry import METHODS, NONE


@pytest.fixture(scope="module")
def complete(small_store: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    return complete_folder(small_store, tmp_path_factory.mktemp("complete"))


@pytest.fixture
def results(complete: Path, tmp_path: Path) -> Path:
    """A copy that a test may spoil."""
    shutil.copytree(complete, tmp_path / "results")
    return tmp_path / "results"


def test_a_complete_folder_passes(results: Path) -> None:
    findings = check(results)
    assert findings.problems == findings.gaps == ()
    assert findings.measured == len(CONCEPTS) * (len(METHODS) + 1)
    done = varbench("check", results)
    assert done.exit_code == 0 and "no problem found" in done.output
    assert varbench("check", results / "nothing").exit_code == 2


def metric_edit(name: str, **update: Any) -> Callable[[Result], Result]:
    """Replaces fields of one metric; the file's hash is made to fit."""
    return lambda result: with_metric(result, name, **update)


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
        return result.model_copy(update={"provenance": made}).hashed()

    return edit


def config_edit(**sections: Any) -> Callable[[Result], Result]:
    """Replaces sections of the resolved configuration."""

    def edit(result: Result) -> Result:
        config = result.provenance.resolved_config
        return provenance_edit(resolved_config=config | sections)(result)

    return edit


def twice(result: Result) -> Result:
    return result.model_copy(update={"metrics": (*result.metrics, result.metrics[0])}).hashed()


HASH = "ab" * 32
EDITS: dict[str, tuple[Callable[[Result], Result], str]] = {
    "edited by hand": (
        lambda r: metric_edit("acc_e", value=0.0)(r).model_copy(update={"sha256": r.sha256}),
        "edited by hand",
    ),
    "interval": (metric_edit("clip_score", ci_low=1.0), "clip_score: ci_low is 1.0, but its rows"),
    "half an interval": (metric_edit("clip_score", ci_low=None), "clip_score: ci_low is None, but"),
    "difference": (
        metric_edit("clip_score", difference=Difference(value=9.0, low=8.0, high=10.0)),
        "clip_score: difference.value is 9.0, but its rows",
    ),
    "of a seed": (seed_edit("acc_n", value=0.5), "acc_n: value of seed 0 is 0.5, but its rows"),
    "interval of a seed": (seed_edit("vendi", ci_high=9.0), "vendi: ci_high of seed 0 is 9.0, but"),
    "degrees of freedom": (metric_edit("acc_u", edit_df=9), "acc_u: edit_df is 9, but its rows"),
    "baseline": (metric_edit("vendi", baseline=9.0), "vendi: baseline 9, but none.json has"),
    "n of the seeds": (metric_edit("vendi", n=99), "vendi: n is 99, but its rows and seeds give"),
    "mean of the seeds": (seed_edit("fid_base", value=1.0), "fid_base: value is"),
    "seed_max": (metric_edit("fid_base", seed_max=1e6), "fid_base: seed_max is 1000000.0, but"),
    "statistic": (metric_edit("acc_u", statistic=None), "acc_u: statistic is None, but its rows"),
    "old definition": (metric_edit("acc_e", version=0), "acc_e: defined as of version 0, now"),
    "versions apart": (metric_edit("acc_e", version=0), "acc_e: version 0, but"),
    "twice": (twice, "occurs twice"),
    "prompts": (provenance_edit(prompts_sha256=HASH), "as none.json was (prompts changed)"),
    "suite": (config_edit(suite={"block": 9}), "as none.json was (suite.block"),
    "concept": (provenance_edit(concept_sha256=HASH), "as none.json was (concept changed)"),
    "model": (provenance_edit(model_fingerprint="x"), "as none.json was (weights"),
    "scorers": (provenance_edit(scorers=()), "as none.json was (without scorers."),
    "stages": (provenance_edit(stage_versions={"generate": 0}), "as none.json was (generate 0"),
    "metrics": (
        lambda r: r.model_copy(update={"metrics": r.metrics[1:]}).hashed(),
        "acc_e: only here or only in none.json",
    ),
    "place": (
        lambda r: r.model_copy(update={"default": False}).hashed(),
        f"belongs at gallery/church/{METHOD}.",
    ),
}


@pytest.mark.parametrize(("edit", "words"), EDITS.values(), ids=EDITS)
def test_an_edit_is_found(
    complete: Path, tmp_path: Path, edit: Callable[[Result], Result], words: str
) -> None:
    church = tmp_path / "leaderboard" / "gallery" / "church"
    church.mkdir(parents=True)
    for name in (METHOD, NONE):
        for file in (complete / church.relative_to(tmp_path)).glob(f"{name}.*"):
            shutil.copy(file, church)
    path = church / f"{METHOD}.json"
    path.write_text(edit(read(path)).text(), encoding="utf-8")
    problems = check(tmp_path).problems
    assert any(words in problem.message for problem in problems), problems
    assert all("church" in problem.file for problem in problems)


def with_config(text: str, **sections: object) -> str:
    """The text of a results file with other sections in its resolved configuration."""
    body = json.loads(text)
    body["provenance"]["resolved_config"] |= sections
    return json.dumps(body)


def test_missing_and_malformed_files_are_found(results: Path) -> None:
    church = results / "leaderboard" / "gallery" / "church"
    (church / "uce.json").unlink()
    (gap,) = check(results).gaps
    assert gap.file == "leaderboard/gallery/church" and "lacks uce" in gap.message
    done = varbench("check", results)
    assert done.exit_code == 1 and gap.message in done.output and "1 problem" in done.output
    assert varbench("check", results, "--incomplete").exit_code == 0
    (church / "none.json").unlink()
    findings = check(results)
    assert "lacks none, uce" in findings.gaps[0].message
    assert any(
        "none.json is missing next to it" in problem.message for problem in findings.problems
    )
    text = (church / "esd.json").read_text(encoding="utf-8")
    for broken, words in (
        (text[:-40], "Invalid JSON"),
        (text.replace('"suite"', '"swiet"'), "suite: Field required"),
        (text.replace('"status": "measured"', '"status": "reported"'), "status: Input should be"),
        (with_config(text, model=None), "model must hold the model's settings"),
        (with_config(text, model="gallery"), "model must hold the model's settings"),
    ):
        (church / "esd.json").write_text(broken, encoding="utf-8")
        assert any(
            p.file.endswith("church/esd.json") and words in p.message
            for p in check(results).problems
        ), words


def test_reports_from_files(results: Path, tmp_path: Path) -> None:
    leaderboard = results / "leaderboard"
    done = varbench(
        "report", "--results", leaderboard, "--concept", "church", "--method", "esd,uce",
        "--format", "md", "--table", "main",
    )  # fmt: skip
    assert done.exit_code == 0, done.output
    assert [line.split()[1] for line in done.output.splitlines() if line.startswith("| ")] == [
        "method", "none", "esd", "uce",
    ]  # fmt: skip
    only = ("--concept", "church", "--method", METHOD)
    done = varbench("report", "--results", leaderboard, *only, "--out", tmp_path / "out")
    page = (tmp_path / "out" / "index.html").read_text(encoding="utf-8")
    assert "made from results files" in page and "<img" not in page
    assert f"varbench run --model gallery --method {METHOD}" in page
    assert "images behind them" in page


def test_the_repositorys_own_results_pass() -> None:
    findings = check(ROOT / "results")
    assert findings.problems == findings.gaps == (), findings.text()
    assert findings.reported >= 5


def test_nothing_heavy_is_loaded_for_reading(complete: Path) -> None:
    code = f"""
import sys, varbench
light = [n for n in ("pandas", "pydantic", "numpy", "torch") if n in sys.modules]
from varbench.cli import app
app(["report", "--results", {str(complete / "leaderboard")!r}], standalone_mode=False)
light += [n for n in ("torch", "transformers", "scipy") if n in sys.modules]
app(["check", {str(complete)!r}, "--files-only"], standalone_mode=False)
print(light, [n for n in ("torch", "transformers") if n in sys.modules])
"""
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stderr
    assert done.stdout.splitlines()[-1] == "[] []"
