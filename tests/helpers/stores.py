"""An entry, other processes, and damage, for tests of the store."""

from __future__ import annotations

import os
import subprocess
import sys
import textwrap
from pathlib import Path
from typing import Any

from tests.helpers.paths import ROOT
from varbench.store import Entry, Store

SPEC: dict[str, Any] = {"stage": "generate", "block": 3, "model": {"sha256": "ab", "cfg": 4.0}}


def make_store(tmp_path: Path) -> Store:
    return Store(tmp_path / "runs")


def put(store: Store, spec: dict[str, Any] = SPEC, data: bytes = b"pixels" * 100) -> Entry:
    with store.write("generate", spec) as writer:
        (writer.dir / "images").mkdir()
        (writer.dir / "images" / "0.bin").write_bytes(data)
        (writer.dir / "scores.json").write_text('{"hit": true}')
        writer.meta["seconds"] = 1.5
    assert writer.entry is not None
    return writer.entry


def reopened(store: Store) -> Store:
    """As a new process would see it: nothing remembered."""
    return Store(store.root)


def results(root: Path) -> dict[Path, int]:
    """All files but those that every run leaves (locks and its journal), with their times in ns."""
    found = (p for p in root.rglob("*") if p.is_file())
    own = {"locks", "runs"}
    return {p: p.stat().st_mtime_ns for p in found if not own & set(p.relative_to(root).parts)}


def leftovers(store: Store) -> list[Path]:
    return list((store.root / "tmp").iterdir())


def start(code: str, *args: object) -> subprocess.Popen[str]:
    """A second process that runs `code` with `args` as sys.argv[1:] and talks by lines."""
    command = [sys.executable, "-c", textwrap.dedent(code), *map(str, args)]
    environment = {**os.environ, "PYTHONPATH": str(ROOT)}
    return subprocess.Popen(command, stdout=subprocess.PIPE, text=True, env=environment)


def read_line(process: subprocess.Popen[str]) -> str:
    assert process.stdout is not None
    return process.stdout.readline().strip()


def flip_bit(path: Path) -> None:
    data = bytearray(path.read_bytes())
    data[len(data) // 2] ^= 1
    path.write_bytes(data)


def truncate(path: Path) -> None:
    path.write_bytes(path.read_bytes()[:-7])
