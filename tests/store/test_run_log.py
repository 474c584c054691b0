"""Journals of runs, and `varbench status`: what is done, what runs, what failed and why."""

from __future__ import annotations

import json
import logging
import os
import signal
import socket
import subprocess
import sys
import time
from pathlib import Path
from typing import Any

import pytest

from tests.helpers.cli import varbench
from tests.helpers.leaderboard import METHOD, SMALL
from tests.helpers.stores import make_store
from varbench.errors import UserError
from varbench.store import StoreError
from varbench.store.run_log import FOLDER, run_log
from varbench.store.status import DEAD, RUNNING, UNKNOWN, events, status
from varbench.utils.progress import Progress


def open_journal(root: Path) -> Any:
    return run_log(root, "varbench run --method svare", "cpu")


def lines(root: Path) -> list[dict[str, Any]]:
    (path,) = (root / FOLDER).glob("*.jsonl")
    return list(events(path))


def test_a_run_logs_start_stages_warnings_and_end(tmp_path: Path) -> None:
    with open_journal(tmp_path) as journal:
        progress = Progress(log=journal.stage)
        progress.label = "svare"
        with progress.stage("generate", 10, done=4) as bar:
            bar.advance(3)
            bar.advance(3)
        logging.getLogger("varbench.store").warning("odd: %s", "x")
    events = lines(tmp_path)
    assert [event["event"] for event in events] == [
        "started", "stage", "progress", "warning", "ended",
    ]  # fmt: skip
    assert events[0]["command"] == "varbench run --method svare" and events[0]["pid"] == os.getpid()
    stages = [(event["name"], event["done"], event["total"]) for event in events[1:3]]
    assert stages == [("generate svare", 4, 10), ("generate svare", 10, 10)]
    assert events[3]["message"] == "odd: x" and events[4]["outcome"] == "finished"
    assert not logging.getLogger("varbench").handlers  # nothing stays behind


def test_frequent_progress_is_thinned_but_not_the_end(tmp_path: Path) -> None:
    with open_journal(tmp_path) as journal, Progress(log=journal.stage).stage("score", 500) as bar:
        for _ in range(500):
            bar.advance()
    told = [one for one in lines(tmp_path) if one["event"] == "progress"]
    assert len(told) <= 3 and told[-1]["done"] == 500


@pytest.mark.parametrize(
    ("error", "outcome", "traced"),
    [(UserError("no such thing"), "failed", False), (RuntimeError("oom"), "failed", True)],
)
def test_the_log_has_the_reason_of_a_failed_run(
    tmp_path: Path, error: Exception, outcome: str, traced: bool
) -> None:
    with pytest.raises(type(error)), open_journal(tmp_path):
        raise error
    failed, ended = lines(tmp_path)[-2:]
    assert (failed["reason"], ended["outcome"]) == (str(error), outcome)
    assert ("traceback" in failed) == traced
    (run,) = status(tmp_path).runs
    assert (run.state, run.reason) == ("failed", f"{type(error).__name__}: {error}")
    assert run.reason in status(tmp_path).text()


def test_an_interrupted_run(tmp_path: Path) -> None:
    with pytest.raises(KeyboardInterrupt), open_journal(tmp_path):
        raise KeyboardInterrupt
    assert [run.state for run in status(tmp_path).runs] == ["interrupted"]


def test_a_killed_run_is_dead_and_its_torn_line_is_left_out(tmp_path: Path) -> None:
    code = f"""
import sys, time
from pathlib import Path
from varbench.store.run_log import run_log
with run_log(Path({str(tmp_path)!r}), "c", "cpu") as journal:
    journal.stage("erase", 3, 10, new=True)
    print("go", flush=True)
    time.sleep(60)
"""
    process = subprocess.Popen([sys.executable, "-c", code], stdout=subprocess.PIPE, text=True)
    assert process.stdout is not None and process.stdout.readline() == "go\n"
    (run,) = status(tmp_path).runs
    assert (run.state, run.stage, run.done, run.total) == (RUNNING, "erase", 3, 10)
    process.send_signal(signal.SIGKILL)
    process.wait()
    (path,) = (tmp_path / FOLDER).glob("*.jsonl")
    with path.open("a") as file:
        file.write('{"time": 1, "event": "progr')
    assert [run.state for run in status(tmp_path).runs] == [DEAD]


def write_journal(root: Path, name: str, *told: dict[str, Any]) -> None:
    (root / FOLDER).mkdir(parents=True, exist_ok=True)
    text = "".join(json.dumps(one) + "\n" for one in told)
    (root / FOLDER / f"{name}.jsonl").write_text(text)


def test_time_left_is_that_of_this_processs_own_pace(tmp_path: Path) -> None:
    now = time.time()
    here = {"host": socket.gethostname(), "pid": os.getpid(), "command": "c"}
    stage = {"event": "progress", "name": "generate", "total": 100}
    write_journal(
        tmp_path, "a",
        {"time": now - 30, "event": "started", **here},
        {**stage, "time": now - 20, "event": "stage", "done": 60},  # 60 were found
        {**stage, "time": now - 10, "done": 70},
        {**stage, "time": now, "done": 80},
    )  # fmt: skip
    (run,) = status(tmp_path).runs
    assert run.state == RUNNING and run.left == pytest.approx(20.0)


def test_another_machines_silent_run_is_not_called_running(tmp_path: Path) -> None:
    far = {"event": "started", "host": "elsewhere", "pid": 1, "command": "c"}
    write_journal(tmp_path, "new", {"time": time.time(), **far})
    write_journal(tmp_path, "old", {"time": time.time() - 9999, **far})
    assert [run.state for run in status(tmp_path).runs] == [RUNNING, UNKNOWN]


def test_entries_and_damage_are_counted(tmp_path: Path) -> None:
    store = make_store(tmp_path)
    for spec in ({"block": 0}, {"block": 1}):
        with store.write("pictures", spec):
            pass
    (store.root / "damaged" / "pictures-x").mkdir(parents=True)
    (store.root / "concepts").mkdir()  # no stage
    found = status(store.root)
    assert found.entries == {"pictures": 2} and found.damaged == 1
    assert "1 damaged entries" in found.text() and json.loads(found.json())["damaged"] == 1
    with pytest.raises(StoreError, match="there is no store"):
        status(tmp_path / "nowhere")


def test_through_the_command_line(small_store: Path, tmp_path: Path) -> None:
    done = varbench("status", "--store", small_store)
    assert done.exit_code == 0 and "finished" in done.output and "pictures" in done.output
    told = json.loads(varbench("status", "--store", small_store, "--json").output)
    assert told["entries"]["cell"] == 2 and told["runs"][0]["state"] == "finished"
    bad = varbench("run", "--method", METHOD, "--store", tmp_path, *SMALL, "suite.block=0")
    assert bad.exit_code == 2 and "block must be at least 1" in bad.output
    assert not (tmp_path / FOLDER).exists()  # refused before work
    assert varbench("status", "--store", tmp_path / "x").exit_code == 2
