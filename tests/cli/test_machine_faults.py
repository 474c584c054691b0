"""Errors of the machine, and texts that would steer a terminal, through the command line."""

from __future__ import annotations

import errno
import json
import logging
import os
from pathlib import Path

import pytest
import torch

import varbench as api
from tests.helpers.cli import varbench
from tests.helpers.leaderboard import METHOD, SMALL
from varbench.cli.output import _Printable
from varbench.errors import UserError, machine_failed
from varbench.methods.training import checkpoints
from varbench.pipeline import run as pipeline
from varbench.pipeline.external import images
from varbench.pipeline.stages.score import score_or_isolate
from varbench.store import Store
from varbench.store.run_log import FOLDER
from varbench.store.status import status

MEMORY = [
    MemoryError(),
    RuntimeError(
        "[enforce fail at alloc_cpu.cpp:119] err == 0. DefaultCPUAllocator: can't allocate memory: "
        "you tried to allocate 80000000000000 bytes. Error code 12 (Cannot allocate memory)"
    ),
    torch.OutOfMemoryError("CUDA out of memory. Tried to allocate 2.00 GiB."),
    RuntimeError("CUDA error: device-side assert triggered"),
    RuntimeError("cuDNN error: CUDNN_STATUS_ALLOC_FAILED"),
    Exception("[ONNXRuntimeError] : 6 : std::bad_alloc"),
    Exception("OpenCV(4.9) error: (-4:Insufficient memory) Failed to allocate 800 bytes"),
    type("_ArrayMemoryError", (MemoryError,), {})("Unable to allocate 7.28 TiB"),
]


@pytest.mark.parametrize("error", MEMORY, ids=str)
def test_errors_of_the_machine_are_no_images_fault(
    error: Exception, monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    def fail(*args: object) -> None:
        raise error

    for files in ({0: Path("a")}, {0: Path("a"), 1: Path("b")}):
        with pytest.raises(type(error)):
            score_or_isolate(fail, files, ["p", "q"])  # type: ignore[arg-type]
    monkeypatch.setattr(checkpoints, "_read", fail)
    (tmp_path / "t.pt").touch()
    with pytest.raises(type(error)):  # else training would begin again and write over it
        checkpoints.resume(tmp_path / "t.pt", {}, torch.optim.SGD([torch.zeros(1)]))


def test_a_real_failure_of_memory_is_known() -> None:
    with pytest.raises(RuntimeError) as caught:
        torch.empty(1 << 58, dtype=torch.uint8)
    assert machine_failed(caught.value)
    for words in ("the allocation of prompts", "a relationship error", "status unknown"):
        assert not machine_failed(ValueError(words))


def test_memory_is_no_fault_of_an_image_of_others(monkeypatch: pytest.MonkeyPatch) -> None:
    def fail(*args: object, **kwargs: object) -> None:
        raise OSError("out of memory error when reading image file")  # Pillow's words

    monkeypatch.setattr(images.Image, "open", fail)
    with pytest.raises(OSError, match="out of memory"):
        images._opened(b"")


@pytest.mark.parametrize(
    ("error", "words"),
    [
        (MEMORY[1], "can't allocate memory"),
        (MemoryError(), "MemoryError: where memory ran out"),
        (OSError(errno.ENOSPC, os.strerror(errno.ENOSPC)), "disk full: free space"),
        (SystemExit(0), r"a plugin or a library ended the program (sys.exit(0))"),
    ],
)
def test_the_machine_and_plugins_end_a_run_with_one_line(
    error: BaseException, words: str, monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    def fail(*args: object) -> None:
        raise error

    monkeypatch.setattr(pipeline, "run", fail)
    done = varbench("run", "--method", METHOD, *SMALL, "--store", tmp_path)
    assert done.exit_code == 2 and words in done.stderr and "Traceback" not in done.output


def test_a_plugin_cannot_end_the_program_of_whoever_calls(
    monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    def fail(*args: object) -> None:
        raise SystemExit(0)

    monkeypatch.setattr(pipeline, "run", fail)
    with pytest.raises(UserError, match="ended the program"):
        api.run(methods=METHOD, overrides=SMALL, store=tmp_path, quiet=True)


# --- terminals ----------------------------------------------------------------------------------

ESCAPE = "\x1b[31mred\x07\u202e"


def test_no_file_steers_the_terminal(tmp_path: Path, small_store: Path) -> None:
    images = tmp_path / f"im{ESCAPE}"
    images.mkdir()
    (images / "manifest.csv").write_text(f"fi{ESCAPE}le,prompt,seed\na.png,p,0\n")
    (tmp_path / FOLDER).mkdir()
    line = {"time": 1, "event": "started", "command": ESCAPE}
    (tmp_path / FOLDER / f"a{ESCAPE}.jsonl").write_text(
        json.dumps(line) + "\n" + json.dumps(line | {"event": "failed", "reason": ESCAPE}) + "\n"
    )
    results = tmp_path / "results" / "gallery" / "face-ada"
    results.mkdir(parents=True)
    (results / "none.json").write_text(json.dumps({f"x{ESCAPE}": 1}))
    for command in (
        ("score", images, "--concept", "face-ada", "--store", tmp_path / "s"),
        ("status", "--store", tmp_path),
        ("report", "--results", tmp_path / "results"),
        ("report", "--store", small_store, "--concept", ESCAPE),
    ):
        done = varbench(*command)
        assert "red" in done.output, command
        assert not {"\x1b", "\x07", "\u202e"} & set(done.output), command


def test_no_warning_steers_the_terminal() -> None:
    record = logging.LogRecord("x", logging.WARNING, "", 0, f"a {ESCAPE}\nb", None, None)
    assert _Printable("%(message)s").format(record) == "a [U+001B][31mred[U+0007][U+202E]\nb"


# --- journals -----------------------------------------------------------------------------------

WRONG: tuple[object, ...] = (None, True, "x", -1, 1.5, 1e308, 10**400, [], {"a": 1})


@pytest.mark.parametrize("field", ["time", "event", "command", "host", "pid", "name", "done",
                                   "total", "error", "reason", "outcome"])  # fmt: skip
def test_status_outlives_lines_that_no_run_writes(tmp_path: Path, field: str) -> None:
    start = {"time": 1.0, "event": "started", "command": "c", "host": "h", "pid": 1}
    others = [
        {"time": 2.0, "event": "stage", "name": "n", "done": 1, "total": 2},
        {"time": 3.0, "event": "progress", "name": "n", "done": 2, "total": 2},
        {"time": 4.0, "event": "failed", "error": "E", "reason": "r"},
        {"time": 5.0, "event": "ended", "outcome": "failed"},
    ]
    (tmp_path / FOLDER).mkdir()
    for number, wrong in enumerate(WRONG):
        lines = [json.dumps(line | {field: wrong}) for line in (start, *others)]
        lines += ["NaN", '{"time": NaN, "event": "x"}', "[" * 10**5, "\x00"]
        text = "\n".join([json.dumps(start), *lines])
        (tmp_path / FOLDER / f"{number}.jsonl").write_text(text)
    current = status(tmp_path)
    assert len(current.runs) == len(WRONG)
    assert current.text() and json.loads(current.json())


def test_status_outlives_failures_that_no_run_notes(tmp_path: Path) -> None:
    for number, failed in enumerate(([1], "x", {"a": "b"}, {"1": {"c": []}}, 5)):
        with Store(tmp_path).write("scores", {"block": number, "pictures": ["x"]}) as writer:
            writer.meta["failed"] = failed
    assert varbench("status", "--store", tmp_path).exit_code == 0


# --- other people's cells -----------------------------------------------------------------------


@pytest.mark.parametrize(
    "value",
    ["${oc.env:SECRET}", "'${oc.env:SECRET}'", "${ oc.env : SECRET }", "[${oc.env:SECRET}]"],
)
def test_a_cell_does_not_read_the_environment(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, value: str
) -> None:
    monkeypatch.setenv("SECRET", "hush")
    cell = {"model": "gallery", "method": "none", "suite": "smoke", "seed": 0, "erased": "face-ada"}
    overrides = [f"model.precision={value}"]
    path = tmp_path / "cell.json"
    path.write_text(json.dumps(cell | {"overrides": overrides, "concept_file": None}))
    done = varbench("run", "--from", path, "--show-config", "--store", tmp_path / "store")
    assert done.exit_code == 2 and "is not filled in" in done.output
    assert "hush" not in done.output
