"""The Ray engine gives the local engine's bits, whatever the number of workers and what dies.

pytest -m slow tests/pipeline/test_ray.py
"""

from __future__ import annotations

import os
import re
import signal
import subprocess
import sys
import time
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest

from tests.helpers.cli import varbench
from tests.helpers.ray_cluster import Counted, content, environment, everything, finish, start
from varbench.conf.compose import split_engine
from varbench.conf.schema import EngineConfig
from varbench.errors import UserError
from varbench.pipeline.context import RunContext
from varbench.pipeline.engines.ray import LONG, unfinished
from varbench.pipeline.plan import Request
from varbench.store import Stage, Store

slow = pytest.mark.slow


def test_engine_settings_are_no_part_of_the_request() -> None:
    engine, rest = split_engine(
        ["engine=ray", "method.alpha=0.5", "engine.workers=2", "engine.cpus=0.5"]
    )
    assert engine == EngineConfig("ray", workers=2, cpus=0.5)
    assert rest == ("method.alpha=0.5",)
    assert split_engine(["a=1"]) == (EngineConfig(), ("a=1",))
    for wrong, words in (
        ("engine=dask", "unknown engine 'dask'"),
        ("engine.worker=2", "there are engine.name, engine.workers"),
        ("engine.workers=many", "engine.workers=many"),
        ("engine.timeout=0", "must be positive"),
    ):
        with pytest.raises(UserError, match=re.escape(words)):
            split_engine([wrong])


def test_without_ray_the_error_names_the_extra(tmp_path: Path, monkeypatch: Any) -> None:
    monkeypatch.setitem(sys.modules, "ray", None)
    done = varbench("run", "--store", tmp_path, "--method", "neg-prompt", "engine=ray")
    assert (
        done.exit_code == 2
        and "pip install '.[ray]' in a checkout, or pip install ray" in done.output
    )


def test_long_tasks_are_begun_first_and_nothing_waits_in_vain(tmp_path: Path) -> None:
    request = Request("gallery", ("uce", "esd"), ("face-ada",), "smoke", (0,), ())
    left = unfinished(request, RunContext(Store(tmp_path)))
    stages = [task.stage for task in left.values()]
    assert stages.count(Stage.EDIT) == 2 and stages.count(Stage.ATTACK) == 3
    long = [stage in LONG for stage in stages]
    assert long == sorted(long, reverse=True)
    turns = 0
    while left:  # with as many workers as tasks, everything is done after a few turns
        ready = {key for key, t in left.items() if not {n.key for n in t.needs} & left.keys()}
        assert ready
        left, turns = {key: t for key, t in left.items() if key not in ready}, turns + 1
    assert turns == 4  # edits and roll-outs; attacks; attacked images; their scores


@pytest.fixture(scope="module")
def local(tmp_path_factory: pytest.TempPathFactory) -> dict[str, Any]:
    """The local engine's entries."""
    store = tmp_path_factory.mktemp("local") / "store"
    finish(start(store))
    return content(store)


@pytest.fixture(scope="module")
def cluster() -> Iterator[str]:
    """Two nodes, a process tree each with one CPU, on loopback; gives the address."""
    with nodes(2) as address:
        yield address


class nodes:
    """A cluster of its own: `with nodes(2) as address`; `kill` ends the last node."""

    def __init__(self, count: int) -> None:
        from ray.cluster_utils import Cluster

        self.cluster: Any = Cluster(
            initialize_head=True, head_node_args={"num_cpus": 1, "include_dashboard": False}
        )
        self.more = [self.cluster.add_node(num_cpus=1) for _ in range(count - 1)]

    def __enter__(self) -> str:
        return str(self.cluster.address)

    def kill(self) -> None:
        """SIGKILL to all processes of the last node."""
        self.cluster.remove_node(self.more.pop(), allow_graceful=False)

    def __exit__(self, *exc: object) -> None:
        self.cluster.shutdown()


@pytest.fixture(scope="module", autouse=True)
def _workers_import_this_checkout(tmp_path_factory: pytest.TempPathFactory) -> Iterator[None]:
    before = dict(os.environ)
    os.environ.update(environment(COUNTED=str(tmp_path_factory.mktemp("counted") / "pictures")))
    yield
    os.environ.clear()
    os.environ.update(before)


def workers(address: str) -> list[int]:
    """Process numbers of the actors on this machine."""
    found = subprocess.run(["ps", "-eo", "pid,args"], capture_output=True, text=True, check=True)
    lines = [line.split(maxsplit=1) for line in found.stdout.splitlines()[1:]]
    return [int(pid) for pid, args in lines if args.startswith("ray::Worker")]


def wait_for(condition: Callable[[], object], seconds: float = 300) -> None:
    end = time.monotonic() + seconds
    while not condition():
        assert time.monotonic() < end, "it did not come"
        time.sleep(0.05)


def entries(store: Path, stage: str) -> int:
    return len(list((store / stage).glob("??/*/manifest.json")))


@slow
def test_workers_here_give_the_local_bits(local: dict[str, Any], tmp_path: Path) -> None:
    made = Counted()
    finish(start(tmp_path, "engine=ray", "engine.workers=2"))
    assert content(tmp_path) == local
    assert set(made().values()) == {1} and set(made()) == everything(tmp_path)
    assert "tasks" not in finish(start(tmp_path, "engine=ray"))  # all done: no cluster is started


@slow
def test_two_nodes_give_the_local_bits(local: dict[str, Any], cluster: str, tmp_path: Path) -> None:
    finish(start(tmp_path, "engine=ray", f"engine.address={cluster}"))
    assert content(tmp_path) == local


STAGES = {
    "edit": lambda store: (store / "locks" / "edit").exists(),
    "pictures": lambda store: entries(store, "pictures") >= 2,
    "probe": lambda store: entries(store, "rollouts") >= 1,
    "attack": lambda store: (store / "locks" / "attack").exists() or entries(store, "attack"),
    "scores": lambda store: entries(store, "scores") >= 3,
}


@slow
@pytest.mark.parametrize("stage", STAGES)
def test_a_node_killed_in_any_stage_costs_a_task_at_most(
    local: dict[str, Any], tmp_path: Path, stage: str
) -> None:
    two, made = nodes(2), Counted()
    with two as address:
        process = start(tmp_path, "engine=ray", f"engine.address={address}")
        wait_for(lambda: STAGES[stage](tmp_path))
        two.kill()
        finish(process)
    assert content(tmp_path) == local
    again = [count for count in made().values() if count > 1]
    assert again in ([], [2])  # the one task that the dead worker had in hand


@slow
def test_a_killed_driver_goes_on_where_it_was(
    local: dict[str, Any], cluster: str, tmp_path: Path
) -> None:
    made = Counted()
    process = start(tmp_path, "engine=ray", f"engine.address={cluster}")
    wait_for(lambda: entries(tmp_path, "pictures") >= 3)
    process.send_signal(signal.SIGKILL)
    process.wait()
    stamps = {p: p.stat().st_mtime_ns for p in (tmp_path / "pictures").glob("??/*/manifest.json")}
    finish(start(tmp_path, "engine=ray", f"engine.address={cluster}"))
    assert content(tmp_path) == local
    assert all(path.stat().st_mtime_ns == stamp for path, stamp in stamps.items())
    assert max(made().values()) <= 2


@slow
def test_a_worker_that_hangs_is_replaced(
    local: dict[str, Any], cluster: str, tmp_path: Path
) -> None:
    process = start(tmp_path, "engine=ray", f"engine.address={cluster}", "engine.timeout=20")
    wait_for(lambda: workers(cluster) and entries(tmp_path, "pictures") >= 1)
    stopped = workers(cluster)[0]
    os.kill(stopped, signal.SIGSTOP)
    finish(process)
    assert content(tmp_path) == local
    with pytest.raises(ProcessLookupError):
        os.kill(stopped, 0)


@slow
def test_a_worker_out_of_memory_is_replaced(
    local: dict[str, Any], cluster: str, tmp_path: Path
) -> None:
    resource = pytest.importorskip("resource")
    process = start(tmp_path, "engine=ray", f"engine.address={cluster}")
    wait_for(lambda: workers(cluster) and entries(tmp_path, "pictures") >= 1)
    victim = workers(cluster)[0]
    size = int(Path(f"/proc/{victim}/statm").read_text().split()[0]) * os.sysconf("SC_PAGE_SIZE")
    resource.prlimit(victim, resource.RLIMIT_AS, (size, size))  # not a byte more
    finish(process)
    assert content(tmp_path) == local


@slow
def test_what_fails_again_and_again_ends_the_run_and_keeps_the_rest(
    cluster: str, tmp_path: Path
) -> None:
    args = ("engine=ray", f"engine.address={cluster}", "engine.timeout=0.5", "engine.attempts=2")
    process = start(tmp_path, *args)
    said, _ = process.communicate(timeout=300)
    assert process.returncode == 2 and "failed 2 times" in said and "engine.timeout" in said
    assert "Traceback" not in said


@slow
def test_no_cluster_at_the_address_is_an_error(tmp_path: Path) -> None:
    process = start(tmp_path, "engine=ray", "engine.address=127.0.0.1:1")
    said, _ = process.communicate(timeout=300)
    assert process.returncode == 2 and "no Ray cluster at 127.0.0.1:1" in said


def raylet_of(process: subprocess.Popen[str]) -> list[int]:
    """The raylet that a run started for itself."""
    told = subprocess.run(
        ["ps", "-o", "pid=,comm=", "--ppid", str(process.pid)],
        capture_output=True, text=True, check=False,
    )  # fmt: skip
    lines = [line.split() for line in told.stdout.splitlines()]
    return [int(line[0]) for line in lines if line[1] == "raylet"]


@slow
def test_a_lost_raylet_ends_the_run_within_seconds(tmp_path: Path) -> None:
    groups = ("target", "neighbours", "unrelated")
    long = [f"suite.groups.{group}.prompts=60" for group in groups]  # minutes, as noticing may take
    process = start(tmp_path, "engine=ray", "engine.workers=1", "engine.attempts=9", *long)

    def at_work() -> bool:
        assert process.poll() is None, process.communicate()[0]
        return bool(raylet_of(process) and any(tmp_path.glob("*/??/*/manifest.json")))

    wait_for(at_work)
    os.kill(raylet_of(process)[0], signal.SIGKILL)
    said, _ = process.communicate(timeout=60)
    assert process.returncode == 2 and "its raylet has ended" in said and "Traceback" not in said
