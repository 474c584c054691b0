"""A small store of the code before the redesign: all of it is found, reported, and made the same.

The store was made by `make_store.py`; `commands.json` lists the commands, whose relative paths are
in the folder that is unpacked.
"""

from __future__ import annotations

import json
import shutil
import tarfile
from pathlib import Path
from typing import Any

import pytest

from tests.golden.keys import DIGITS, keys_of_request, left_to_do
from tests.golden.make_store import invoke
from tests.golden.reports import REPORTS, cells_of, report_text, reworded

HERE = Path(__file__).parent
COMMANDS = json.loads((HERE / "commands.json").read_text(encoding="utf-8"))
REQUESTS = [asked for command in COMMANDS for asked in command["requests"]]
OWN = {"runs", "locks", "tmp"}  # what every run leaves
TINY = 1e-6  # other processors round sums in another order


@pytest.fixture
def folder(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """The unpacked store and what lies beside it, as the working folder."""
    with tarfile.open(HERE / "store.tar.xz") as tar:
        tar.extractall(tmp_path, filter="data")
    monkeypatch.chdir(tmp_path)
    return tmp_path


def entries(store: Path) -> set[str]:
    """Stage and key of every entry, also of damaged ones that were moved aside."""
    found = {path.parent.relative_to(store) for path in store.rglob("manifest.json")}
    return {f"{path.parts[0]}/{path.name}" for path in found if path.parts[0] not in OWN}


def run_all() -> None:
    for command in COMMANDS:
        done = invoke(command["args"])
        assert done.exit_code == command["exit"], (command["args"], done.output)


def test_a_plan_has_nothing_to_do(folder: Path) -> None:
    for asked in REQUESTS:
        left = left_to_do(asked, folder / "store")
        assert left and not any(left.values()), (asked, left)


def test_every_entry_has_a_key_that_follows_from_a_request(folder: Path) -> None:
    there: dict[str, set[str]] = {}
    for entry in entries(folder / "store"):
        stage, _, key = entry.partition("/")
        there.setdefault(stage, set()).add(key[:DIGITS])
    named: dict[str, set[str]] = {}
    for asked in REQUESTS:
        for stage, keys in keys_of_request(asked).items():
            named.setdefault(stage, set()).update(keys)
    score_makes = {"pictures", "scores", "cell"}  # `varbench score` has no request
    for stage, keys in named.items():
        found = there.get(stage, set())
        assert keys <= found, stage
        assert keys == found or stage in score_makes, stage
    assert set(there) - set(named) == {"ablation"}


def test_the_same_commands_add_nothing(folder: Path) -> None:
    before = entries(folder / "store")
    run_all()
    assert entries(folder / "store") == before


def test_cells_are_recorded_anew_with_the_same_content(folder: Path) -> None:
    store = folder / "store"
    before, frozen = entries(store), cells_of(store)
    shutil.rmtree(store / "cell")
    run_all()
    assert entries(store) == before
    found = cells_of(store)
    assert list(found) == list(frozen)
    for key, cell in frozen.items():
        same(found[key], cell, key)


def same(found: Any, frozen: Any, where: str) -> None:
    """Equal, in the same order; numbers to the last digits."""
    if isinstance(frozen, dict):
        assert list(found) == list(frozen), where
        for name in frozen:
            same(found[name], frozen[name], f"{where}.{name}")
    elif isinstance(frozen, list):
        assert len(found) == len(frozen), where
        for number, (one, other) in enumerate(zip(found, frozen, strict=True)):
            same(one, other, f"{where}[{number}]")
    elif isinstance(frozen, float):
        assert found == pytest.approx(frozen, rel=TINY, abs=TINY), where
    else:
        assert (type(found), found) == (type(frozen), frozen), where


def test_reports_are_as_frozen(folder: Path) -> None:
    words = json.loads((HERE / "words.json").read_text(encoding="utf-8"))
    assert sorted(path.name for path in (HERE / "reports").iterdir()) == sorted(REPORTS)
    for name, options in REPORTS.items():
        frozen = (HERE / "reports" / name).read_text(encoding="utf-8")
        assert report_text(options, folder) == reworded(frozen, words), name
