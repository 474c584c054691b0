"""A small run for tests of published results, and a results folder that is complete."""

from __future__ import annotations

import json
import shutil
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np

from tests.helpers.cli import small_groups, varbench
from varbench.leaderboard.check import CONCEPTS
from varbench.leaderboard.publish import publish
from varbench.leaderboard.results import Result, read, write
from varbench.methods.registry import METHODS, NONE
from varbench.metrics.estimates import sampled_value
from varbench.metrics.record import MetricRecord
from varbench.metrics.stats.paired_samples import PairedSamples
from varbench.metrics.stats.row_files import read_rows, write_rows
from varbench.store import Store

SMALL = [
    *small_groups(2, 2),
    "suite.block=4",
    "suite.probe.prompts=0",
    "suite.metrics=[acc_e,acc_n,acc_u,fid_base,clip_score,vendi]",
    "suite.robustness.prompts=0",
]
BodyEdit = Callable[[dict[str, Any]], None]
METHOD = "neg-prompt"  # changes sampling only, so it trains nothing


def run_small(folder: Path) -> Path:
    """Fill a store with a run of the base model and one method."""
    result = varbench("run", "--method", METHOD, "--store", folder, *SMALL)
    assert result.exit_code == 0, result.output
    return folder


def clone(store: Store, seed: int, edit: BodyEdit = lambda body: None, **spec: Any) -> None:
    """Another edit seed of the method's cell, with numbers of its own."""
    entry = next(e for e in store.entries("cell") if e.json("cell.json")["method"] == METHOD)
    body, rows = entry.json("cell.json"), read_rows(entry.path("rows.npz"))
    body["seed"] = seed
    body["command"] = body["command"].replace("--seed 0", f"--seed {seed}")
    for record in body["records"]:
        record["seed"] = seed
    # One image fewer is right: a difference that pooling has to find in the rows.
    old = rows["acc_u"]
    hits = old.method.copy()
    hits[np.flatnonzero(hits)[0]] = False
    rows["acc_u"] = PairedSamples(old.statistic, hits, old.base, old.clusters)
    body["records"] = [
        _anew(record, rows["acc_u"]) if record["metric"] == "acc_u" else record
        for record in body["records"]
    ]
    edit(body)
    with store.write("cell", {**entry.spec, "seed": seed, **spec}) as writer:
        (writer.dir / "cell.json").write_text(json.dumps(body))
        write_rows(writer.dir / "rows.npz", rows)


def _anew(stored: dict[str, Any], rows: PairedSamples) -> dict[str, Any]:
    value = sampled_value(rows, stored["n"], stored["note"], stored["details"])
    return MetricRecord.of_cell(stored).with_numbers(value).for_cell()


def with_metric(result: Result, name: str, **update: Any) -> Result:
    """The same result with fields of one metric replaced, and the hash that fits."""
    metrics = [m.model_copy(update=update) if m.metric == name else m for m in result.metrics]
    return result.model_copy(update={"metrics": tuple(metrics)}).hashed()


def complete_folder(store: Path, folder: Path) -> Path:
    """Fill a results folder completely, with copies of the store's two results files."""
    leaderboard = folder / "leaderboard"
    paths = publish(Store(store), folder / "one")
    method, base = (read(path) for path in paths)
    assert (base.method, method.method) == (NONE, METHOD)
    for concept in CONCEPTS:
        for name in (NONE, *METHODS):
            result = base if name == NONE else method
            renamed = result.model_copy(update={"concept": concept, "method": name}).hashed()
            write(leaderboard, renamed)
            shutil.copy(folder / "one" / result.rows_path, leaderboard / renamed.rows_path)
    shutil.rmtree(folder / "one")
    return folder
