"""Paths that are too long or refused, a missing home folder, full disks, odd terminals, Ctrl-C."""

from __future__ import annotations

import os
import pwd
import subprocess
import sys
from pathlib import Path
from typing import Any

import pytest

from tests.helpers.cli import varbench
from tests.helpers.image_folder import TARGETS, noise_folder, write_manifest
from varbench.data.published.data_folder import data_folder
from varbench.store.hashing import checksum_folder

LONG = "x" * 300
SCORE = ["score", ".", "--concept", "face-ada", "--method", "none"]
COMMANDS = {
    "run --store": ["run", "--store", LONG, "--method", "none"],
    "plan --store": ["plan", "--store", LONG, "--no-probe"],
    "report --store": ["report", "--store", LONG],
    "status --store": ["status", "--store", LONG],
    "figures --store": ["figures", "--store", LONG, "--out", "figures"],
    "publish --store": ["publish", "--store", LONG],
    "score --store": [*SCORE, "--store", LONG],
    "export --store": [
        "export", "--out", "out", "--method", "svare", "--concept", "face-ada", "--store", LONG,
    ],
    "run --from": ["run", "--from", LONG],
    "run --concept": ["run", "--concept", f"{LONG}.yaml"],
    "run --ablation": ["run", "--ablation", f"{LONG}.yaml"],
    "model.weights": [
        "run", "--model", "infinity-2b", "--concept", "church", "--suite", "quick", "--method",
        "svare", f"model.weights=/{LONG}",
    ],
    "suite set": ["plan", "--no-probe", f"suite.groups.target.set={LONG}.csv"],
    "score DIR": ["score", LONG, "--concept", "face-ada", "--method", "none"],
    "score --against": [*SCORE[:-1], "m", "--against", LONG],
    "score --manifest": [*SCORE, "--manifest", LONG],
    "score --against-manifest": [*SCORE[:-1], "m", "--against", ".", "--against-manifest", LONG],
    "score --wanted": [*SCORE, "--wanted", "--suite", "smoke", "--manifest", f"{LONG}/a.csv"],
    "fetch --from": ["fetch", "i2p", "--from", LONG],
    "fetch --data": ["fetch", "--data", LONG],
    "report --results": ["report", "--results", LONG],
    "check": ["check", LONG, "--files-only"],
}  # fmt: skip


@pytest.mark.parametrize("name", COMMANDS)
def test_a_path_that_is_too_long_is_one_line(
    name: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.chdir(tmp_path)
    noise_folder(tmp_path, TARGETS[:1], 1)
    done = varbench(*COMMANDS[name])
    assert done.exit_code == 2, (done.output, done.exception)
    assert "error: " in done.stderr and "xxx" in done.stderr and "Traceback" not in done.output


@pytest.mark.parametrize("name", ["report --store", "run --store", "score DIR", "report --results"])
def test_a_folder_that_may_not_be_read_is_one_line(
    name: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    shut = tmp_path / "shut" / "folder"
    plain: Any = os.stat

    def refuse(path: Any, *more: Any, **how: Any) -> os.stat_result:
        if str(path).startswith(str(shut)):
            raise PermissionError(13, "Permission denied", str(path))
        result: os.stat_result = plain(path, *more, **how)
        return result

    monkeypatch.setattr(os, "stat", refuse)
    done = varbench(*(str(shut) if arg == LONG else arg for arg in COMMANDS[name]))
    assert done.exit_code == 2, (done.output, done.exception)
    assert str(shut) in done.stderr and "Permission denied" in done.stderr


def test_a_file_name_in_a_list_may_be_too_long(tmp_path: Path) -> None:
    row = {"file": f"{LONG}.png", "prompt": TARGETS[0], "seed": "0", "group": ""}
    write_manifest(tmp_path / "in", [row])
    done = varbench("score", tmp_path / "in", *SCORE[2:], "--store", tmp_path / "s")
    assert done.exit_code == 2
    assert "manifest.csv:2" in done.stderr and "cannot be read" in done.stderr


@pytest.fixture
def no_home(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    def unknown(_: int) -> None:
        raise KeyError

    monkeypatch.chdir(tmp_path)
    for name in ("HOME", "XDG_CACHE_HOME", "XDG_DATA_HOME", "VARBENCH_DATA", "TORCH_HOME"):
        monkeypatch.delenv(name, raising=False)
    monkeypatch.setattr(pwd, "getpwuid", unknown)


@pytest.mark.usefixtures("no_home")
@pytest.mark.parametrize("kind", ["weights", "prompts", "models"])
def test_without_a_home_folder_nothing_is_found(kind: str, tmp_path: Path) -> None:
    done = varbench("list", kind)
    assert done.exit_code == 0, (done.output, done.exception)
    assert "missing" in done.output or kind == "prompts"
    assert not list(tmp_path.iterdir())


@pytest.mark.usefixtures("no_home")
def test_without_a_home_folder_plans_work_and_fetch_says_what_to_name(tmp_path: Path) -> None:
    plan = ["--model", "infinity-2b", "--concept", "church", "--suite", "quick", "--no-probe"]
    assert varbench("plan", *plan, "--store", tmp_path / "s").exit_code == 0
    assert varbench("fetch").exit_code == 0
    for base in (data_folder(), checksum_folder()):
        assert not base.exists()
    (tmp_path / "i2p_benchmark.csv").write_text("prompt\na\n")
    done = varbench("fetch", "i2p", "--from", tmp_path / "i2p_benchmark.csv")
    assert done.exit_code == 2 and "--data" in done.stderr


def shell(command: str, **env: str) -> Any:
    program = f"{sys.executable} -m varbench.cli"
    return subprocess.run(
        ["sh", "-c", command.replace("varbench", program)],
        capture_output=True, env={**os.environ, **env}, check=False,
    )  # fmt: skip


def test_a_terminal_of_another_encoding_shows_the_table() -> None:
    command = "varbench report --results results/regression --format md"
    done = shell(command, PYTHONIOENCODING="ascii")
    assert done.returncode == 0, done.stderr
    assert len(done.stdout) > 1000 and b"Traceback" not in done.stderr


@pytest.mark.skipif(not Path("/dev/full").exists(), reason="Linux only")
@pytest.mark.parametrize("command", ["list metrics", "--help", "--version"])
def test_a_full_disk_behind_the_output_is_one_line(command: str) -> None:
    done = shell(f"varbench {command} >/dev/full")
    assert done.returncode == 2
    (line,) = done.stderr.decode().splitlines()
    assert line.startswith("error: disk full: free space")


def test_a_closed_pipe_is_quiet() -> None:
    done = shell("varbench list metrics | head -1")
    assert b"Traceback" not in done.stderr and b"error" not in done.stderr


def test_ctrl_c_says_how_to_go_on(monkeypatch: pytest.MonkeyPatch) -> None:
    def interrupted(*_: Any) -> None:
        raise KeyboardInterrupt

    monkeypatch.setattr("varbench.cli.list_tables.list_table", interrupted)
    monkeypatch.setattr("varbench.pipeline.launch.check", interrupted)
    for command in (["list", "metrics"], ["run"], ["plan"]):
        done = varbench(*command)
        assert done.exit_code == 130
        assert done.stderr == "stopped; the same command goes on from here\n"
