"""The benchmark of the harness runs at toy size, its stand-ins for networks included.

pytest -m slow tests/benchmarks/test_pipeline.py
"""

from __future__ import annotations

import os
import subprocess
import sys

import pytest

from tests.helpers.paths import ROOT


@pytest.mark.slow
def test_planning_resuming_and_scoring_are_measured() -> None:
    command = [sys.executable, "benchmarks/pipeline.py", "planning", "resume", "scoring"]
    place = {**os.environ, "PYTHONPATH": str(ROOT)}
    done = subprocess.run(
        [*command, "--scale", "0.001"], cwd=ROOT, env=place, capture_output=True, text=True
    )
    assert done.returncode == 0, done.stderr[-2000:]
    rows = [
        [cell.strip() for cell in line.strip("|").split("|")]
        for line in done.stdout.splitlines()
        if line.startswith("|") and "--" not in line
    ]
    names = [row[0] for row in rows]
    assert names[:4] == ["images", "9000", "stored images", "180"]
    assert names[4:] == ["scorer", "judge", "clip", "features"]
    measured = [float(cell) for row in rows for cell in row[1:] if cell[0].isdigit()]
    assert len(measured) == 3 + 3 + 3 * 3 and min(measured) > 0
