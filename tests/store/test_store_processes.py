"""The store keeps its promises when processes die and others race it."""

from __future__ import annotations

import json
import multiprocessing
import os
import signal
import subprocess
import sys
import threading
import time
from pathlib import Path
from typing import Any

import filelock
import pytest

from tests.helpers.stores import SPEC, leftovers, make_store, put, read_line, reopened, start
from varbench.store import Store, digest
from varbench.store.temporary import sweep
from varbench.utils.processes import machine_id

store = pytest.fixture(make_store)


# --- death in the middle ------------------------------------------------------------------------


def test_kill_9_in_the_middle_of_a_write(store: Store) -> None:
    writing = start(
        """
        import json, sys, time
        from pathlib import Path
        from varbench.store import Store
        store, spec = Store(Path(sys.argv[1])), json.loads(sys.argv[2])
        with store.lock("generate", spec), store.write("generate", spec) as writer:
            (writer.dir / "half.bin").write_bytes(b"x" * 5000)
            print("half way", flush=True)
            time.sleep(600)
        """,
        store.root,
        json.dumps(SPEC),
    )
    assert read_line(writing) == "half way"
    assert sweep(store.root) == []  # a live process keeps its folder
    (lock,) = (store.root / "locks" / "generate").iterdir()
    with pytest.raises(filelock.Timeout):
        filelock.FileLock(lock).acquire(timeout=0.1)
    writing.send_signal(signal.SIGKILL)
    writing.wait()

    assert store.get("generate", SPEC) is None
    assert list(store.entries("generate")) == []
    with store.lock("generate", SPEC):  # the dead process's lock is free
        entry = put(store)
    assert set(entry.files) == {"images/0.bin", "scores.json"}
    assert len(leftovers(store)) == 1
    assert len(sweep(store.root)) == 1
    assert leftovers(store) == []
    assert reopened(store).get("generate", SPEC) is not None


def test_kill_9_at_random_moments_never_shows_a_partial_entry(store: Store) -> None:
    writing = start(
        """
        import sys
        from pathlib import Path
        from varbench.store import Store
        store = Store(Path(sys.argv[1]))
        print("ready", flush=True)
        for block in range(100_000):
            with store.write("generate", {"block": block}) as writer:
                for name in "abcd":
                    (writer.dir / name).write_bytes(name.encode() * 20_000)
        """,
        store.root,
    )
    assert read_line(writing) == "ready"
    time.sleep(0.5)
    writing.kill()
    writing.wait()
    entries = list(store.entries("generate"))
    assert {entry.spec["block"] for entry in entries} == set(range(len(entries)))
    assert all(set(entry.files) == set("abcd") for entry in entries)
    assert not (store.root / "damaged").exists()


def test_sweep_judges_by_process_on_this_host_and_by_age_elsewhere(store: Store) -> None:
    gone = subprocess.Popen([sys.executable, "-c", ""])
    gone.wait()
    key, here, there = digest(SPEC), machine_id(), "0" * 8
    dead = store.root / "tmp" / f"{key}-{gone.pid}-{here}-aa"
    live = store.root / "tmp" / f"{key}-{os.getpid()}-{here}-aa"
    remote = store.root / "tmp" / f"{key}-{gone.pid}-{there}-aa"
    old = store.root / "tmp" / f"{key}-{gone.pid}-{there}-bb"
    foreign = store.root / "tmp" / "notes"
    for folder in (dead, live, remote, old, foreign):
        folder.mkdir(parents=True)
    os.utime(old, (time.time() - 8 * 86400,) * 2)
    assert set(sweep(store.root)) == {dead, old}
    assert set(leftovers(store)) == {live, remote, foreign}


# --- races --------------------------------------------------------------------------------------


def test_the_slower_writer_gets_the_faster_ones_entry(store: Store) -> None:
    with store.write("generate", SPEC) as slow:
        (slow.dir / "who").write_text("slow")
        with reopened(store).write("generate", SPEC) as fast:
            (fast.dir / "who").write_text("fast")
    assert fast.entry is not None
    assert slow.entry == fast.entry
    assert slow.entry.path("who").read_text() == "fast"
    assert leftovers(store) == []


def race(root: Path, go: Any, results: Any) -> None:
    store = Store(root)
    go.wait()
    for block in range(20):
        with store.write("generate", {"block": block}) as writer:
            (writer.dir / "pid").write_text(str(os.getpid()))
        assert writer.entry is not None
        results.put((block, writer.entry.path("pid").read_text()))


def test_two_processes_racing_on_the_same_keys_agree(store: Store) -> None:
    context = multiprocessing.get_context("spawn")
    go, results = context.Event(), context.Queue()
    workers = [context.Process(target=race, args=(store.root, go, results)) for _ in range(2)]
    for worker in workers:
        worker.start()
    go.set()
    seen = [results.get(timeout=60) for _ in range(40)]
    for worker in workers:
        worker.join(60)
        assert worker.exitcode == 0
    assert len(set(seen)) == 20  # both processes saw the same winner for each block
    assert len(list(store.entries("generate"))) == 20
    assert leftovers(store) == []
    assert not (store.root / "damaged").exists()


def test_the_lock_lets_only_one_do_the_work(store: Store) -> None:
    done = []

    def work() -> None:
        with store.lock("generate", SPEC):
            if store.get("generate", SPEC) is None:
                time.sleep(0.05)
                put(store)
                done.append(1)

    threads = [threading.Thread(target=work) for _ in range(4)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert done == [1]


def test_locks_of_different_keys_do_not_meet(store: Store) -> None:
    with store.lock("generate", SPEC), store.lock("generate", {"block": 9}):
        pass
    with store.lock("generate", SPEC):  # released
        pass
