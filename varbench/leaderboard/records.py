"""Results files as the records and cells of a report, and as one DataFrame."""

from __future__ import annotations

import logging
from collections.abc import Callable, Iterator, Sequence
from dataclasses import replace
from pathlib import Path
from typing import Any

import pandas as pd

from varbench.leaderboard.json_files import ResultsError
from varbench.leaderboard.results import (
    EDITED,
    Cost,
    MetricValues,
    Result,
    Run,
    read,
    results_files,
)
from varbench.methods.registry import NONE
from varbench.metrics.record import MetricRecord
from varbench.report.cells import CellRecord, machine_of
from varbench.report.records import load_records, to_frame
from varbench.store import Store

log = logging.getLogger("varbench.leaderboard")


def load_results(path: str | Path) -> pd.DataFrame:
    """Results as one DataFrame with a row per number: a leaderboard's folder, or a store.

    Columns: the fields of `varbench.metrics.record.MetricRecord` up to `machine`. A row has the
    value of one metric with its 95 % interval, its n, the base model's value and the paired
    difference; `seed` is missing in the mean over edit seeds, which comes before its seeds.

    Raises:
        ResultsError: there are no results files, or one is malformed.
        ReportError: the store holds no results.
    """
    folder = Path(path)
    if (folder / "cell").is_dir():
        return to_frame(load_records(Store(folder)))
    return to_frame(records_of(load(folder)))


def load(folder: Path) -> list[Result]:
    """All results of a leaderboard's folder, in the order of a report; warns of edited files.

    Raises:
        ResultsError: there are none, or one is malformed.
    """
    files = results_files(folder)
    if not files:
        raise ResultsError(
            f"no results files <model>/<concept>/<method>.json in {folder}: name the folder that "
            "holds the models' folders, such as results/leaderboard"
        )
    results = {path: read(path) for path in files}
    for path, result in results.items():
        if result.sha256 != result.content_sha256():
            log.warning("%s %s", path, EDITED)
    return sorted(results.values(), key=_order)


def _order(result: Result) -> tuple[str, ...]:
    method = "" if result.method == NONE else result.method
    return (result.model, result.concept, result.suite, result.settings, method, result.config)


def records_of(results: Sequence[Result]) -> list[MetricRecord]:
    """The records of results, as `varbench.report.records.records_of` has them of cells."""
    return [record for result in results for record in _records(result)]


def _records(result: Result) -> Iterator[MetricRecord]:
    names = ("model", "method", "config", "concept", "suite", "status")
    shared = {name: getattr(result, name) for name in names} | {"prompt_set": result.suite}
    machines = {cell.seed: machine_of(cell.body) for cell in cells_of([result])}
    all_machines = "; ".join(sorted(set(machines.values())))
    more = ("family", "embedded", "settings", "conditions")
    labels: dict[str, Any] = {name: getattr(result, name) for name in more}
    metrics: tuple[MetricValues | Cost, ...] = (*result.metrics, *result.costs.values)
    for metric in metrics:
        stored = shared | metric.model_dump()
        values = [seed.value for seed in metric.seeds if seed.value is not None]
        yield replace(
            MetricRecord.of_cell(stored, machine=all_machines, **labels),
            n=_of_one_edit(metric, "n", min),
            n_failed=_of_one_edit(metric, "n_failed", max),
            edit_df=stored.get("edit_df"),
            seeds=len(values),
            seed_min=min(values, default=None),
            seed_max=max(values, default=None),
        )
        for seed in metric.seeds:
            machine = machines.get(seed.seed, all_machines)
            yield MetricRecord.of_cell(stored | seed.model_dump(), machine=machine, **labels)


def _of_one_edit(metric: MetricValues | Cost, name: str, choose: Callable[..., int]) -> int | None:
    """Images of the edit with the fewest, or failed images of that with the most."""
    counts = [getattr(seed, name, None) for seed in metric.seeds]
    return choose([c for c in counts if c is not None], default=None)


def cells_of(results: Sequence[Result]) -> list[CellRecord]:
    """Stand-ins for the cells of results, one per edit seed: provenance without numbers."""
    names = ("model", "method", "config", "concept", "suite", "family", "embedded")
    return [
        CellRecord(
            key=run.cell,
            seed=run.seed,
            body=_body(result, run),
            spec=result.conditions,
            **{name: getattr(result, name) for name in names},
        )
        for result in results
        for run in result.provenance.runs
    ]


def _body(result: Result, run: Run) -> dict[str, Any]:
    provenance = result.provenance.model_dump(mode="json") | {"device": run.device}
    config = provenance.pop("resolved_config")
    settings = {"method_config": config["method"], "resolved_config": config}
    return {"command": run.command, "provenance": provenance} | settings
