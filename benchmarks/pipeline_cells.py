"""Reports and the end of a run in a store of many cells; a part of `pipeline.py`."""

from __future__ import annotations

import json
import shutil
import subprocess
import sys
import time
from pathlib import Path
from typing import Any

from pipeline_growth import filled, in_own_process
from pipeline_models import Table, peak_memory, request, run_context

from varbench.cli.results import results_table
from varbench.store import Entry, Stage, next_sequence

METHODS = 20  # of each concept, the base model among them
# The peak since the program began; the system's own count goes on from the parent's.
_MEASURED = """
import sys, time
from varbench.cli import app
app(sys.argv[1:], standalone_mode=False)
status = dict(line.split(":", 1) for line in open("/proc/self/status"))
print(time.process_time(), int(status["VmHWM"].split()[0]) * 1024 / 1e9, file=sys.stderr)
"""
QUIET = ("suite.probe.prompts=0", "suite.robustness.prompts=0")


def cells(folder: Path, scale: float) -> list[Table]:
    """Stores of 1,000 cells of 20 methods, copied from one: one edit each, then three."""
    return [_of_edits(folder.with_name(f"edits-{edits}"), scale, edits) for edits in (1, 3)]


def _of_edits(folder: Path, scale: float, edits: int) -> Table:
    count = max(METHODS * edits, round(1000 * scale))
    in_own_process(filled, folder, request("none", *QUIET))
    in_own_process(_copied, folder, count, edits)
    rows: list[tuple[Any, ...]] = [("end of a run", *in_own_process(_ended, folder))]
    for more in (["--concept", "c0"], []):
        wall, options = time.perf_counter(), ["report", "--store", str(folder), *more]
        command = [sys.executable, "-c", _MEASURED, *options]
        done = subprocess.run(command, check=True, capture_output=True, text=True)
        spent = map(float, done.stderr.splitlines()[-1].split())
        rows.append((" ".join(["report", *more]), time.perf_counter() - wall, *spent))
    title = f"a store of {count} cells, edits of a method: {edits}"
    return Table(title, ("what", "wall s", "processor s", "peak GB"), rows)


def _copied(folder: Path, count: int, edits: int) -> None:
    """Copies of the only cell under other names."""
    store = run_context(folder).store
    (first,) = store.entries(Stage.CELL)
    content = first.json("cell.json")
    for number in range(count):
        place, seed = divmod(number, edits)
        concept, method = f"c{place // METHODS}", f"m{place % METHODS}".replace("m0", "none")
        names = {"concept": concept, "method": method, "seed": seed}
        copy = content | names | {"records": [r | names for r in content["records"]]}
        config = {**first.spec["config"], "method": {"number": place}}
        with store.write(
            Stage.CELL, {**first.spec, "concept": concept, "config": config, "seed": seed}
        ) as writer:
            (writer.dir / "cell.json").write_text(json.dumps(copy, indent=1))
            shutil.copy(first.path("rows.npz"), writer.dir)
            writer.meta |= {**first.meta, "turn": number}
    store.remove(first)


def _ended(folder: Path) -> tuple[float, float, float]:
    """Numbering of one more cell, and the table of two."""
    wall, processor = time.perf_counter(), time.process_time()
    store = run_context(folder).store
    next_sequence(store, Stage.CELL)
    paths = sorted((store.root / Stage.CELL).glob("??/*/manifest.json"))[:2]
    entries = [store.find(Stage.CELL, path.parent.name) for path in paths]
    results_table(store, [entry for entry in entries if isinstance(entry, Entry)])
    return time.perf_counter() - wall, time.process_time() - processor, peak_memory()
