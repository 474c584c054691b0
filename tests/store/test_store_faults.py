"""Kills, full disks, clocks and foreign files: nothing is left behind, nothing alive is swept."""

from __future__ import annotations

import io
import json
import logging
import os
import resource
import shutil
import subprocess
import sys
import time
import zipfile
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from torch import nn

from tests.helpers.cli import varbench
from tests.helpers.stores import SPEC, flip_bit, leftovers, make_store, put, read_line, start
from varbench.methods.training import checkpoints
from varbench.store import MANIFEST, Store, StoreError, digest
from varbench.store import store as store_module
from varbench.store.entry import DamagedError, read_entry
from varbench.store.hashing import parsed_digest
from varbench.store.temporary import checkpoint_file, sweep
from varbench.utils.processes import machine_id

store = pytest.fixture(make_store)
KEY = digest(SPEC)


@contextmanager
def small_disk(size: int = 1 << 16) -> Iterator[None]:
    """A limit on the size of files, which the system reports as it reports a full disk."""
    _, hard = resource.getrlimit(resource.RLIMIT_FSIZE)
    resource.setrlimit(resource.RLIMIT_FSIZE, (size, hard))
    try:
        yield
    finally:
        resource.setrlimit(resource.RLIMIT_FSIZE, (hard, hard))


def training(size: int) -> tuple[dict[str, nn.Parameter], torch.optim.Optimizer]:
    parameters = {"w": nn.Parameter(torch.zeros(size))}
    return parameters, torch.optim.SGD(parameters.values())


# --- disks and kills ----------------------------------------------------------------------------


def test_a_disk_that_is_full_at_a_checkpoint_keeps_the_one_before(store: Store) -> None:
    path = checkpoint_file(store.root, KEY)
    checkpoints.save(path, *training(10), 50, [])
    before = path.read_bytes()

    def train() -> None:
        with store.write("edit", SPEC) as writer, small_disk():
            writer.scratch = path
            checkpoints.save(path, *training(1 << 20), 100, [])

    for _ in range(2):
        with pytest.raises(StoreError, match=r"disk full.*finished work is kept"):
            train()
        assert leftovers(store) == [path] and path.read_bytes() == before


def test_a_kill_while_a_checkpoint_is_written_leaves_nothing_for_long(store: Store) -> None:
    path = checkpoint_file(store.root, KEY)
    path.parent.mkdir(parents=True)
    writing = start(
        """
        import sys, time
        from pathlib import Path
        from varbench.utils.files import whole_file
        with whole_file(Path(sys.argv[1])) as draft:
            draft.write_bytes(b"x" * 5000)
            print("half way", flush=True)
            time.sleep(600)
        """,
        path,
    )
    assert read_line(writing) == "half way"
    assert len(leftovers(store)) == 1 and sweep(store.root) == []
    writing.kill()
    writing.wait()
    assert len(sweep(store.root)) == 1 and leftovers(store) == []


def test_a_checkpoint_goes_once_its_edit_is_stored(
    store: Store, monkeypatch: pytest.MonkeyPatch
) -> None:
    path = checkpoint_file(store.root, KEY)

    def train() -> None:
        with store.write("edit", SPEC) as writer:
            writer.scratch = path
            checkpoints.save(path, *training(10), 50, [])

    with monkeypatch.context() as patch:
        patch.setattr(Store, "_publish", lambda *args: 1 / 0)  # the kill before it is stored
        with pytest.raises(ZeroDivisionError):
            train()
    assert path.exists() and sweep(store.root) == []
    train()
    assert not path.exists()
    path.write_bytes(b"as after a kill between storing and removing")
    assert sweep(store.root) == [path]


# --- clocks -------------------------------------------------------------------------------------


def test_a_clock_days_ahead_sweeps_nothing_alive(
    store: Store, monkeypatch: pytest.MonkeyPatch
) -> None:
    tmp, there = store.root / "tmp", "0" * 8
    other = digest({"block": 9})
    own = tmp / f"{KEY}-{os.getpid()}-{machine_id()}-aa"
    far, dead = tmp / f"{KEY}-1-{there}-aa", tmp / f"{other}-1-{there}-aa"
    draft = tmp / f".training-{KEY[:24]}.pt-1-{there}-aa"
    for folder in (own, far, dead):
        folder.mkdir(parents=True)
    draft.touch()
    with store.lock("generate", {"block": 9}):  # used once, free now
        pass
    now = time.time()
    monkeypatch.setattr(time, "time", lambda: now + 8 * 86400)
    with store.lock("generate", SPEC):  # stands for the machine that works on it
        assert sweep(store.root) == [dead]
    assert set(sweep(store.root)) == {draft, far}
    assert leftovers(store) == [own]


def test_who_waits_for_another_says_for_whom(
    store: Store, monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    monkeypatch.setattr(store_module, "PATIENCE_S", 0.05)
    working = start(
        """
        import json, sys, time
        from pathlib import Path
        from varbench.store import Store
        store, spec = Store(Path(sys.argv[1])), json.loads(sys.argv[2])
        with store.lock("generate", spec), store.write("generate", spec):
            print("working", flush=True)
            time.sleep(1)
        """,
        store.root,
        json.dumps(SPEC),
    )
    assert read_line(working) == "working"
    with caplog.at_level(logging.WARNING, "varbench.store"), store.lock("generate", SPEC):
        assert store.get("generate", SPEC) is not None
    working.wait()
    (said,) = (record.getMessage() for record in caplog.records)
    assert f"waiting for process {working.pid}, which works on generate/{KEY}" in said


# --- foreign files ------------------------------------------------------------------------------


def renamed(store: Store, name: str, new: str) -> Path:
    """An entry whose manifest gives a file another name, with the checksum that fits."""
    folder = put(store).dir
    manifest = json.loads((folder / MANIFEST).read_bytes())
    manifest["files"][new] = manifest["files"].pop(name)
    del manifest["digest"]
    text = json.dumps(manifest | {"digest": parsed_digest(manifest)})
    (folder / MANIFEST).write_text(text)
    return folder


@pytest.mark.parametrize("new", ["../../../../secret", "{root}/secret", "images/../../secret"])
def test_a_manifest_cannot_name_files_elsewhere(store: Store, tmp_path: Path, new: str) -> None:
    secret = (store.root / "secret", tmp_path / "secret")
    folder = renamed(store, "scores.json", new.format(root=store.root))
    for path in secret:
        path.write_text('{"hit": true}')
    with pytest.raises(DamagedError, match="no file of the entry"):
        read_entry(folder, "generate", verify=False)
    assert store.get("generate", SPEC) is None and list(store.entries("generate")) == []


@pytest.mark.parametrize("name", ["scores.json", "images"])
def test_an_entry_cannot_hold_links(store: Store, tmp_path: Path, name: str) -> None:
    path = put(store).dir / name
    moved = tmp_path / "elsewhere"
    shutil.move(path, moved)
    path.symlink_to(moved)
    assert Store(store.root).get("generate", SPEC) is None


def crafted_arrays() -> dict[str, bytes]:
    """Files that numpy meets with errors of many kinds."""
    whole = io.BytesIO()
    np.savez(whole, a=np.zeros(3))
    deep = io.BytesIO()
    with zipfile.ZipFile(deep, "w") as archive:
        head = b"{'descr': " + b"(" * 900 + b")" * 900 + b", 'shape': (3,)}"
        archive.writestr("a.npy", b"\x93NUMPY\x01\x00" + len(head).to_bytes(2, "little") + head)
    pickled = io.BytesIO()
    np.savez(pickled, a=np.array([{}], object))
    return {
        "empty": b"", "text": b"no archive", "cut": whole.getvalue()[:-30],
        "header": deep.getvalue(), "objects": pickled.getvalue(),
    }  # fmt: skip


@pytest.mark.parametrize("kind", crafted_arrays())
def test_crafted_arrays_are_one_error(store: Store, kind: str) -> None:
    with store.write("scores", SPEC) as writer:
        (writer.dir / "scores.npz").write_bytes(crafted_arrays()[kind])
    assert writer.entry is not None
    with pytest.raises(StoreError, match=r"scores.npz: was not written by varbench"):
        writer.entry.arrays("scores.npz")


def test_deep_nesting_is_one_error(store: Store) -> None:
    deep = "[" * 100_000 + "]" * 100_000
    with store.write("cell", SPEC) as writer:
        (writer.dir / "cell.json").write_text(deep)
    assert writer.entry is not None
    with pytest.raises(StoreError, match=r"cell.json: was not written by varbench"):
        writer.entry.json("cell.json")
    shown = varbench("report", "--store", store.root)
    assert shown.exit_code == 2 and "Traceback" not in shown.output
    (writer.entry.dir / MANIFEST).write_text(deep)
    assert Store(store.root).get("cell", SPEC) is None
    assert varbench("status", "--store", store.root).exit_code == 0


def test_a_report_says_each_time_that_a_damaged_cell_is_missing(
    small_store: Path, tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    root = shutil.copytree(small_store, tmp_path / "store")
    flip_bit(next(Store(root).entries("cell")).path("cell.json"))
    for _ in range(2):
        caplog.clear()
        varbench("report", "--store", root)
        assert "rows are missing: the cell was damaged" in caplog.text


@pytest.mark.parametrize(
    ("place", "value"),
    [
        (("pictures", "target", 0, "file"), "../../x.png"), (("pictures", "target", 0), None),
        (("pictures",), "x"), (("records", 0, "value"), "1"), (("records", 0, "metric"), [1]),
        (("records", 0, "difference"), 5), (("schema",), "x"), (("inputs",), [1]),
        (("seed",), {}), (("resolved_config", "model"), "x"), ((), [1]),
    ],
)  # fmt: skip
def test_a_cell_that_varbench_did_not_write_is_one_error(
    small_store: Path, tmp_path: Path, place: tuple[str | int, ...], value: Any
) -> None:
    store = Store(shutil.copytree(small_store, tmp_path / "store"))
    entry = next(store.entries("cell"))
    body = [entry.json("cell.json")]
    within: Any = body
    *path, last = 0, *place
    for key in path:
        within = within[key]
    within[last] = value
    rows = entry.path("rows.npz").read_bytes()
    store.remove(entry)
    with store.write("cell", entry.spec) as writer:
        (writer.dir / "cell.json").write_text(json.dumps(body[0]))
        (writer.dir / "rows.npz").write_bytes(rows)
    done = varbench("report", "--store", store.root, "--out", tmp_path / "out")
    assert done.exit_code == 2 and "not written by varbench" in done.output
    assert "Traceback" not in done.output


@pytest.mark.parametrize("name", ["../../../out", "/tmp/varbench-out"])
def test_a_cell_names_no_figure_outside_the_folder(
    small_store: Path, tmp_path: Path, name: str
) -> None:
    store = Store(shutil.copytree(small_store, tmp_path / "a" / "b" / "store"))
    for entry in list(store.entries("cell")):
        cell = entry.json("cell.json") | {"concept": name}
        rows = entry.path("rows.npz").read_bytes()
        store.remove(entry)
        with store.write("cell", entry.spec) as writer:
            (writer.dir / "cell.json").write_text(json.dumps(cell))
            (writer.dir / "rows.npz").write_bytes(rows)
            writer.meta |= entry.meta
    out = tmp_path / "a" / "b" / "figures"
    done = varbench("figures", "--store", store.root, "--out", out)
    assert done.exit_code == 0, done.output
    assert any(out.iterdir())
    written = {path.parent for path in tmp_path.rglob("*") if path.suffix in {".pdf", ".svg"}}
    assert written == {out}


def test_a_report_says_that_a_results_file_was_edited(
    small_store: Path, tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    from varbench.leaderboard.publish import publish

    path, *_ = publish(Store(small_store), tmp_path)
    for edited in (False, True):
        body: dict[str, Any] = json.loads(path.read_text())
        body["metrics"][0]["n"] += edited
        path.write_text(json.dumps(body))
        caplog.clear()
        assert varbench("report", "--results", tmp_path).exit_code == 0
        assert (f"{path} was edited by hand" in caplog.text) == edited


def test_status_outlives_journals_that_are_no_files(store: Store) -> None:
    (store.root / "runs" / "a.jsonl").mkdir(parents=True)
    os.mkfifo(store.root / "runs" / "b.jsonl")
    assert varbench("status", "--store", store.root).exit_code == 0


def test_a_manifest_of_other_types_is_damage(store: Store) -> None:
    for part in ("meta", "spec"):
        folder = put(store).dir
        manifest = json.loads((folder / MANIFEST).read_bytes()) | {part: [1]}
        del manifest["digest"]
        text = json.dumps(manifest | {"digest": parsed_digest(manifest)})
        (folder / MANIFEST).write_text(text)
        assert Store(store.root).get("generate", SPEC) is None


def test_no_process_has_this_number() -> None:
    gone = subprocess.Popen([sys.executable, "-c", ""])
    gone.wait()
    from varbench.utils.processes import is_alive

    assert is_alive(os.getpid()) and not is_alive(gone.pid) and not is_alive(1 << 80)
