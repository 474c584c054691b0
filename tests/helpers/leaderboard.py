"""What the tests of published results share: a small run, and a folder that is complete."""

from __future__ import annotations

import shutil
from pathlib import Path
from typing import Any

from typer.testing import CliRunner

from varbench.cli import app
from varbench.leaderboard.check import CONCEPTS
from varbench.leaderboard.publish import publish
from varbench.leaderboard.results import read, write
from varbench.methods.registry import METHODS, NONE
from varbench.store import Store

SIZES = {"prompts": 2, "seeds": 2}
SMALL = [
    *(
        f"suite.groups.{group}.{size}={count}"
        for group in ("target", "neighbours", "unrelated")
        for size, count in SIZES.items()
    ),
    "suite.block=4",
    "suite.probe.prompts=0",
    "suite.metrics=[acc_e,acc_n,acc_u,fid_base,clip_score,vendi]",
    "suite.robustness.prompts=0",
]
METHOD = "neg-prompt"  # changes sampling only, so it trains nothing


def run_cli(*args: str | Path) -> Any:
    return CliRunner().invoke(app, [str(arg) for arg in args])


def run_small(folder: Path) -> Path:
    """A store with a run of the unerased model and one method."""
    result = run_cli("run", "--method", METHOD, "--store", folder, *SMALL)
    assert result.exit_code == 0, result.output
    return folder


def complete_folder(store: Path, folder: Path) -> Path:
    """A results folder that is complete: the two measured files stand for all the others."""
    leaderboard = folder / "leaderboard"
    method, base = (read(path) for path in publish(Store(store), folder / "one"))
    assert (base.method, method.method) == (NONE, METHOD)
    for concept in CONCEPTS:
        write(leaderboard, base.model_copy(update={"concept": concept}).hashed())
        for name in METHODS:
            named = {"concept": concept, "method": name}
            write(leaderboard, method.model_copy(update=named).hashed())
    shutil.rmtree(folder / "one")
    return folder
