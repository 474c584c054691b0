"""A tiny run for tests of the Ray engine: its arguments, and its results as comparable content."""

from __future__ import annotations

import os
import subprocess
import sys
from collections import Counter
from pathlib import Path
from typing import Any

from tests.helpers.paths import ROOT
from varbench.store import Stage, Store

RUN = [
    "--method", "uce",
    *(
        f"suite.groups.{group}.{size}={count}"
        for group in ("target", "neighbours", "unrelated")
        for size, count in (("prompts", 2), ("seeds", 2))
    ),
    "suite.block=2", "suite.probe.prompts=2", "suite.robustness.prompts=2",
    "suite.robustness.steps=2", "suite.robustness.examples=2", "suite.robustness.scales=[1]",
    "suite.metrics=[acc_e,acc_u,fid_base,ld1,attack_success]",
]  # fmt: skip


def environment(**more: str) -> dict[str, str]:
    threads = {"OMP_NUM_THREADS": "1", "RAY_DEDUP_LOGS": "0", "RAY_USAGE_STATS_ENABLED": "0"}
    hook = ROOT / "tests" / "helpers" / "counting"
    return {**os.environ, "PYTHONPATH": f"{ROOT}:{hook}", **threads, **more}


def start(store: Path, *args: str, **more: str) -> subprocess.Popen[str]:
    """The run as a process of its own."""
    command = [sys.executable, "-m", "varbench.cli", "run", "--store", str(store), *RUN, *args]
    out = subprocess.PIPE
    return subprocess.Popen(
        command, cwd=ROOT, env=environment(**more), stdout=out, stderr=subprocess.STDOUT, text=True
    )


def finish(process: subprocess.Popen[str], timeout: float = 300) -> str:
    """Its output; it must have ended well."""
    said, _ = process.communicate(timeout=timeout)
    assert process.returncode == 0, said[-4000:]
    return said


class Counted:
    """Count of computations of each entry since this was made, by stage and key."""

    def __init__(self) -> None:
        self.file = Path(os.environ["COUNTED"])
        self.start = len(self._lines())

    def _lines(self) -> list[str]:
        return self.file.read_text().splitlines() if self.file.exists() else []

    def __call__(self) -> Counter[str]:
        return Counter(self._lines()[self.start :])


def everything(store: Path) -> set[str]:
    """Stage and key of every entry."""
    made = Store(store)
    return {f"{stage}/{entry.key}" for stage in Stage for entry in made.entries(stage)}


def content(store: Path) -> dict[str, Any]:
    """Everything that a run is judged by: cells without costs, and the hash of every image."""
    made = Store(store)
    cells = {entry.key: entry.json("cell.json") for entry in made.entries("cell")}
    for cell in cells.values():
        del cell["provenance"]["commit"]  # of the checkout, in which somebody may be at work
    images = {
        entry.key: {name: info.sha256 for name, info in entry.files.items()}
        for stage in ("pictures", "attacked", "completions")
        for entry in made.entries(stage)
    }
    return {"cells": cells, "pictures": images}
