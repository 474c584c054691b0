"""README's table and claims are those of the files, and a claim that fails is reported."""

from __future__ import annotations

import shutil
from pathlib import Path
from typing import Any

import pytest

from tests.helpers.paths import ROOT
from tools.results.claims import CLAIMS, broken
from tools.results.pages import (
    README,
    TABLES,
    main,
    outdated,
    shown_results,
    superseded_text,
    write,
)
from varbench.leaderboard import results
from varbench.leaderboard.json_files import ResultsError
from varbench.leaderboard.records import load
from varbench.leaderboard.results import SUPERSEDED, Result, read


@pytest.fixture
def root(tmp_path: Path) -> Path:
    """A copy of all that `tools.results.pages` reads."""
    shutil.copytree(ROOT / "results" / "leaderboard", tmp_path / "results" / "leaderboard")
    (tmp_path / "docs").mkdir()
    for name in (README, TABLES):
        shutil.copy(ROOT / name, tmp_path / name)
    return tmp_path


def edit(root: Path, concept: str, method: str, metric: str, **update: Any) -> Result:
    path = root / "results" / "leaderboard" / "gallery" / concept / f"{method}.json"
    result = read(path)
    metrics = [m.model_copy(update=update) if m.metric == metric else m for m in result.metrics]
    changed = result.model_copy(update={"metrics": tuple(metrics)}).hashed()
    results.write(root / "results" / "leaderboard", changed)
    return changed


def test_the_repositorys_pages_are_those_of_its_files() -> None:
    assert outdated() == []


def test_pages_are_written_from_the_files_and_nothing_else_changes(root: Path) -> None:
    text = (root / README).read_text(encoding="utf-8")
    edit(root, "church", "svare", "acc_n", value=0.4321)
    assert [line.split()[0] for line in outdated(root)] == ["README.md", "docs/results.md"]
    assert "README.md is out of date" in (main(["--check"], root) or "")
    assert main([], root) is None
    assert main(["--check"], root) is None
    after = (root / README).read_text(encoding="utf-8")
    lines = [(a, b) for a, b in zip(text.splitlines(), after.splitlines(), strict=True) if a != b]
    assert len(lines) == 1 and "0.43" in lines[0][1] and "svare" in lines[0][0]
    (root / README).write_text(text.replace("<!-- table -->", ""), encoding="utf-8")
    with pytest.raises(ResultsError, match="needs <!-- table -->"):
        write(root)
    assert "--check" in (main(["--chekc"], root) or "")


BREAKS = {
    "less drift": ("face-ada", "svare", {"metric": "fid_base", "value": 99.0}),
    "unrelated kept": ("face-ada", "vare", {"metric": "acc_u", "difference": None}),
    "no collapse": ("church", "naive", {"metric": "acc_u", "value": 0.1}),
    "UCE erases": ("church", "uce", {"metric": "erasure_rate", "value": 0.2}),
    "attacks": ("church", "svare", {"metric": "attack_success", "value": 0.9}),
    "weakest": ("church", "svare", {"metric": "erasure_rate", "value": 0.9}),
    "ESD": ("church", "esd", {"metric": "erasure_rate", "value": None}),
}


def test_every_claim_can_fail() -> None:
    assert list(BREAKS) == list(CLAIMS)


@pytest.mark.parametrize("name", BREAKS)
def test_a_claim_that_fails_is_reported_and_not_written(root: Path, name: str) -> None:
    concept, method, update = BREAKS[name]
    edit(root, concept, method, **update)
    (reason, *_) = broken(load(root / "results" / "leaderboard", superseded=True))
    assert f"claim {name!r}" in reason
    before = (root / README).read_bytes()
    for arguments in ([], ["--check"]):
        assert name in (main(arguments, root) or "")
    assert (root / README).read_bytes() == before


def test_superseded_results_are_shown_until_their_concept_is_measured_again(root: Path) -> None:
    results = load(root / "results" / "leaderboard", superseded=True)
    old = [result.model_copy(update={"status": SUPERSEDED}) for result in results]
    assert shown_results(old) == old and superseded_text(old).endswith("again: all methods.")
    new = [
        result.model_copy(update={"status": "measured"})
        if result.concept == "church" and result.method in ("none", "uce")
        else result
        for result in old
    ]
    shown = shown_results(new)
    assert [r.method for r in shown if r.concept == "church"] == ["none", "uce"]
    assert len(shown) > 2
    (still, left_out) = superseded_text(new).splitlines()
    assert "shown until" in still and "left out until" in left_out and "uce" not in left_out
    measured = [result.model_copy(update={"status": "measured"}) for result in results]
    assert shown_results(measured) == measured and superseded_text(measured) == ""
