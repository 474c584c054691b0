"""Whole files: what a killed process leaves of one."""

from __future__ import annotations

import subprocess
import sys
from pathlib import Path

from varbench.utils.files import whole_file, write_whole

KILLED = """
import os, signal, sys
from pathlib import Path
from varbench.utils.files import whole_file
with whole_file(Path(sys.argv[1])) as draft:
    draft.write_text("half")
    os.kill(os.getpid(), signal.SIGKILL)
"""


def test_the_draft_of_a_killed_process_goes_with_the_next_write(tmp_path: Path) -> None:
    for name in ("index.html", "report.md"):
        subprocess.run([sys.executable, "-c", KILLED, str(tmp_path / name)], check=False)
    (stale,) = tmp_path.glob(".index.html-*")
    elsewhere = tmp_path / ".index.html-1-00000000-ab"  # of another machine: it may live
    elsewhere.write_text("half")
    with whole_file(tmp_path / "index.html") as ours:
        ours.write_text("half")
        write_whole(tmp_path / "index.html", "whole")
        assert ours.exists() and not stale.exists() and elsewhere.exists()
    assert len(list(tmp_path.glob(".report.md-*"))) == 1  # another file's, which its write removes
    write_whole(tmp_path / "report.md", "whole")
    assert sorted(path.name for path in tmp_path.iterdir()) == [
        elsewhere.name,
        "index.html",
        "report.md",
    ]
