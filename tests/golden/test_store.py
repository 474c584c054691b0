"""A small store is found whole, reported as it was, and made the same again.

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
from tests.golden.reports import REPORTS, cells_of, report_text

HERE = Path(__file__).parent
COMMANDS = json.loads((HERE / "commands.json").read_text(encoding="utf-8"))
REQUESTS = [asked for command in COMMANDS for asked in command["requests"]]
OF_RUNS = {"runs", "locks", "tmp"}  # what every run leaves
ROUNDING = 1e-11  # other processors add in another order
ROUNDING_FID = 1e-8  # a matrix root halves the digits of eigenvalues near 0


@pytest.fixture
def folder(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """The unpacked store and what lies beside it, as the working folder."""
    with tarfile.open(HERE / "store.tar.xz") as tar:
        tar.extractall(tmp_path, filter="data")
    monkeypatch.chdir(tmp_path)
    return tmp_path


def entries(store: Path) -> set[str]:
    """Stage and key of every entry, also of damaged ones that were moved aside."""
    folders = {path.parent.relative_to(store) for path in store.rglob("manifest.json")}
    return {f"{path.parts[0]}/{path.name}" for path in folders if path.parts[0] not in OF_RUNS}


def run_all() -> None:
    for command in COMMANDS:
        done = invoke(command["args"])
        assert done.exit_code == command["exit"], (command["args"], done.output)


def test_a_plan_has_nothing_to_do(folder: Path) -> None:
    for asked in REQUESTS:
        left = left_to_do(asked, folder / "store")
        assert left and not any(left.values()), (asked, left)


def test_every_entry_has_a_key_that_follows_from_a_request(folder: Path) -> None:
    stored: dict[str, set[str]] = {}
    for entry in entries(folder / "store"):
        stage, _, key = entry.partition("/")
        stored.setdefault(stage, set()).add(key[:DIGITS])
    named: dict[str, set[str]] = {}
    for asked in REQUESTS:
        for stage, keys in keys_of_request(asked).items():
            named.setdefault(stage, set()).update(keys)
    scored_too = {"pictures", "scores", "cell"}  # `varbench score` has no request
    for stage, keys in named.items():
        assert keys <= stored.get(stage, set()), stage
        assert keys == stored.get(stage, set()) or stage in scored_too, stage
    assert set(stored) - set(named) == {"ablation"}


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
    cells = cells_of(store)
    assert list(cells) == list(frozen)
    for key, cell in frozen.items():
        same(cells[key], cell, key)


def same(actual: Any, frozen: Any, where: str, bound: float = ROUNDING) -> None:
    """Equal, in the same order; numbers to the last digits."""
    if isinstance(frozen, dict):
        assert list(actual) == list(frozen), where
        bound = ROUNDING_FID if str(frozen.get("metric")).startswith("fid") else bound
        for name in frozen:
            same(actual[name], frozen[name], f"{where}.{name}", bound)
    elif isinstance(frozen, list):
        assert len(actual) == len(frozen), where
        for number, pair in enumerate(zip(actual, frozen, strict=True)):
            same(*pair, f"{where}[{number}]", bound)
    elif isinstance(frozen, float):
        assert actual == pytest.approx(frozen, rel=bound, abs=bound, nan_ok=True), where
    else:
        assert (type(actual), actual) == (type(frozen), frozen), where


def test_reports_are_as_frozen(folder: Path) -> None:
    assert sorted(path.name for path in (HERE / "reports").iterdir()) == sorted(REPORTS)
    for name, options in REPORTS.items():
        frozen = (HERE / "reports" / name).read_text(encoding="utf-8")
        assert report_text(options, folder) == frozen, name
