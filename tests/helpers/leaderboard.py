"""A small run for tests of published results, and a results folder that is complete."""

from __future__ import annotations

import shutil
from pathlib import Path
from typing import Any

from tests.helpers.cli import small_groups, varbench
from varbench.leaderboard.check import CONCEPTS
from varbench.leaderboard.publish import publish
from varbench.leaderboard.results import Result, read, write
from varbench.methods.registry import METHODS, NONE
from varbench.store import Store

SMALL = [
    *small_groups(2, 2),
    "suite.block=4",
    "suite.probe.prompts=0",
    "suite.metrics=[acc_e,acc_n,acc_u,fid_base,clip_score,vendi]",
    "suite.robustness.prompts=0",
]
METHOD = "neg-prompt"  # changes sampling only, so it trains nothing


def run_small(folder: Path) -> Path:
    """Fill a store with a run of the base model and one method."""
    result = varbench("run", "--method", METHOD, "--store", folder, *SMALL)
    assert result.exit_code == 0, result.output
    return folder


def with_metric(result: Result, name: str, **update: Any) -> Result:
    """The same result with fields of one metric replaced, and the hash that fits."""
    metrics = [m.model_copy(update=update) if m.metric == name else m for m in result.metrics]
    return result.model_copy(update={"metrics": tuple(metrics)}).hashed()


def complete_folder(store: Path, folder: Path) -> Path:
    """Fill a results folder completely, with copies of the store's two results files."""
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
