"""Kills, full disks, clocks and foreign files: nothing is left behind, nothing alive is swept."""

from __future__ import annotations

import json
import logging
import os
import resource
import shutil
import subprocess
import sys
import time
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import pytest
import torch
from torch import nn

from tests.helpers.cli import varbench
from tests.helpers.stores import SPEC, flip_bit, leftovers, make_store, read_line, start
from varbench.methods.training import checkpoints
from varbench.store import Store, StoreError, digest
from varbench.store import store as store_module
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


# --- reports ---------------------------------------------------------------------------------


def test_a_report_says_each_time_that_a_damaged_cell_is_missing(
    small_store: Path, tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    root = shutil.copytree(small_store, tmp_path / "store")
    flip_bit(next(Store(root).entries("cell")).path("cell.json"))
    for _ in range(2):
        caplog.clear()
        varbench("report", "--store", root)
        assert "rows are missing: the cell was damaged" in caplog.text


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


def test_no_process_has_this_number() -> None:
    gone = subprocess.Popen([sys.executable, "-c", ""])
    gone.wait()
    from varbench.utils.processes import is_alive

    assert is_alive(os.getpid()) and not is_alive(gone.pid) and not is_alive(1 << 80)
