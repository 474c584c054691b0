"""Faults around a run: disks, clocks, other versions, two runs at once, odd files."""

from __future__ import annotations

import json
import os
import resource
import shutil
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
import torch
from hypothesis import given

from tests.helpers.cli import varbench
from tests.helpers.fuzz import fuzz, mutated
from tests.helpers.leaderboard import METHOD, SMALL, complete_folder
from tests.helpers.paths import ROOT
from tests.helpers.ray_cluster import Counted, content, environment, everything, finish, start
from tests.helpers.tiny import tiny_model
from varbench.errors import CheckpointError
from varbench.leaderboard.json_files import ResultsError
from varbench.leaderboard.results import read
from varbench.methods.base import Edit, applied
from varbench.report.cells import load_cells
from varbench.store import Entry, Store, next_sequence

RUN = ["run", "--method", METHOD, *SMALL]


def mounted(*args: str | Path) -> bool:
    """True if the system allows a mount."""
    command = ["mount", *map(str, args)]
    try:
        return subprocess.run(command, capture_output=True, check=False).returncode == 0
    except FileNotFoundError:
        return False


@pytest.fixture
def disk(tmp_path: Path) -> Iterator[Path]:
    """A file system of its own with room for 100 kB."""
    folder = tmp_path / "disk"
    folder.mkdir()
    if not mounted("-t", "tmpfs", "-o", "size=100k", "tmpfs", folder):
        pytest.skip("mounting is not allowed here")
    yield folder
    subprocess.run(["umount", str(folder)], check=True)


def records(store: Path) -> list[Any]:
    return [entry.json("cell.json")["records"] for entry in Store(store).entries("cell")]


@pytest.mark.slow
def test_a_full_disk_is_reported_and_costs_no_work(disk: Path, small_store: Path) -> None:
    told = varbench(*RUN, "--store", disk / "store")
    assert told.exit_code == 2 and "disk full: free space" in told.output
    assert "Traceback" not in told.output and not records(disk / "store")
    assert mounted("-o", "remount,size=50m", disk)
    assert varbench(*RUN, "--store", disk / "store").exit_code == 0
    assert records(disk / "store") == records(small_store)


@pytest.mark.slow
def test_a_file_size_limit_is_a_full_disk(tmp_path: Path) -> None:
    command = [sys.executable, "-m", "varbench.cli", *RUN, "--store", str(tmp_path)]
    limit = (2000, 2000)  # bytes of a file
    done = subprocess.run(
        command, cwd=ROOT, env=environment(), capture_output=True, text=True, check=False,
        preexec_fn=lambda: resource.setrlimit(resource.RLIMIT_FSIZE, limit),
    )  # fmt: skip
    assert done.returncode == 2 and "disk full" in done.stderr
    assert "Traceback" not in done.stderr and not records(tmp_path)


def test_a_read_only_store_is_refused_before_work_but_can_be_reported(
    disk: Path, small_store: Path
) -> None:
    assert mounted("-o", "remount,ro", disk)
    told = varbench(*RUN, "--store", disk / "store")
    assert told.exit_code == 2 and "cannot be written" in told.output
    assert "Traceback" not in told.output
    assert mounted("--bind", small_store, disk) and mounted("-o", "remount,bind,ro", disk)
    try:
        shown = varbench("report", "--store", disk)
        assert shown.exit_code == 0 and METHOD in shown.output
    finally:
        subprocess.run(["umount", str(disk)], check=True)


@pytest.mark.slow
def test_two_runs_into_one_store_share_the_work(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("COUNTED", str(tmp_path / "counted"))
    made = Counted()
    both = [start(tmp_path / "store") for _ in range(2)]
    for process in both:
        finish(process)
    assert set(made().values()) == {1}, "an entry was computed twice"
    assert set(made()) == everything(tmp_path / "store")
    alone = tmp_path / "alone"
    finish(start(alone))
    assert content(tmp_path / "store") == content(alone)


# --- clocks and versions ----------------------------------------------------------------------


def later(store: Store, old: Entry, value: float) -> Entry:
    """The same cell measured again, with another value, as by a method that was mended."""
    cell = old.json("cell.json")
    cell["records"][0]["value"] = value
    with store.write("cell", {**old.spec, "edit": {"version": value}}) as writer:
        (writer.dir / "cell.json").write_text(json.dumps(cell))
        (writer.dir / "rows.npz").write_bytes(old.path("rows.npz").read_bytes())
        writer.meta |= next_sequence(store, "cell")
    assert writer.entry is not None
    return writer.entry


def test_the_last_write_counts_whatever_the_clock(small_store: Path, tmp_path: Path) -> None:
    shutil.copytree(small_store, tmp_path / "store")
    store = Store(tmp_path / "store")
    old = next(e for e in store.entries("cell") if e.json("cell.json")["method"] == METHOD)
    for value in (0.25, 0.5, 0.125):
        new = later(store, old, value)
        for path in (new.dir, new.dir / "manifest.json"):  # the clock was set back to 1970
            os.utime(path, (0, 0))
        (cell,) = (c for c in load_cells(Store(store.root)) if c.method == METHOD)
        assert cell.body["records"][0]["value"] == value


def test_a_results_file_of_a_newer_version_asks_for_an_upgrade(
    small_store: Path, tmp_path: Path
) -> None:
    folder = complete_folder(small_store, tmp_path / "results")
    path = next((folder / "leaderboard").glob("*/*/none.json"))
    body = json.loads(path.read_text()) | {"schema_version": 2, "what_we_do_not_know": 1}
    path.write_text(json.dumps(body))
    with pytest.raises(ResultsError, match=r"newer varbench \(schema 2, here 1\); upgrade"):
        read(path)
    told = varbench("check", "--files-only", folder)
    assert told.exit_code != 0 and "upgrade" in told.output and "Traceback" not in told.output


# --- what is read back ------------------------------------------------------------------------


def test_an_edit_of_another_model_is_refused() -> None:
    model = tiny_model()
    name, weight = next(iter(model.weights().state_dict().items()))
    before = weight.clone()
    for tensors, words in (
        ({"no.such": torch.ones(2)}, "lacks: no.such"),
        ({name: torch.ones(1)}, rf"{name} of the edit is \[1\] instead of"),  # would be broadcast
    ):
        with pytest.raises(CheckpointError, match=words), applied(model, Edit(tensors)):
            pass
    assert torch.equal(model.weights().state_dict()[name], before)


@pytest.fixture(scope="module")
def cell_text(small_store: Path) -> str:
    """A small cell.json with a concept of its own."""
    cell = next(Store(small_store).entries("cell")).json("cell.json")
    kept = ("model", "method", "suite", "erased", "seed", "overrides", "concept_file")
    concept = (ROOT / "varbench" / "conf" / "concept" / "church.yaml").read_text()
    return json.dumps({name: cell[name] for name in kept} | {"concept_file": concept})


@pytest.mark.parametrize("name", ["../../outside", "/tmp/outside", "a/b", "..", "", ".hidden"])
def test_a_cell_cannot_write_outside_the_store(tmp_path: Path, cell_text: str, name: str) -> None:
    path = tmp_path / "in" / "cell.json"
    path.parent.mkdir()
    path.write_text(json.dumps(json.loads(cell_text) | {"erased": name}))
    told = varbench("run", "--from", path, "--show-config", "--store", tmp_path / "in" / "store")
    assert told.exit_code == 2 and "cannot name a concept" in told.output
    assert [p.name for p in tmp_path.rglob("*") if p.is_file()] == ["cell.json"]


@fuzz
@given(
    text=mutated(
        json.dumps(
            {
                "model": "gallery",
                "method": "uce",
                "suite": "smoke",
                "seed": 0,
                "erased": "face-ada",
                "overrides": ["pairs=4"],
                "concept_file": None,
            }
        )
    )
)
def test_cells_to_repeat(tmp_path: Path, text: str) -> None:
    path = tmp_path / "cell.json"
    path.write_bytes(text.encode("utf-8", errors="surrogatepass"))
    told = varbench("run", "--from", path, "--show-config", "--store", tmp_path / "store")
    assert told.exit_code in (0, 2), told.output
    assert told.exit_code == 0 or "error" in told.output.lower()
