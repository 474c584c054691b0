"""Results files as the records and cells of a report, and as one DataFrame."""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import replace
from pathlib import Path
from typing import Any

import pandas as pd

from varbench.leaderboard.json_files import ResultsError
from varbench.leaderboard.results import (
    Cost,
    MetricValues,
    Result,
    Run,
    SeedCost,
    SeedValue,
    read,
    results_files,
)
from varbench.methods.registry import NONE
from varbench.metrics.record import MetricRecord
from varbench.report.cells import CellRecord, machine_of
from varbench.report.records import load_records, to_frame
from varbench.store import Store


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
    """All results of a leaderboard's folder, in the order of a report.

    Raises:
        ResultsError: there are none, or one is malformed.
    """
    files = results_files(folder)
    if not files:
        raise ResultsError(
            f"no results files <model>/<concept>/<method>.json in {folder}: name the folder that "
            "holds the models' folders, such as results/leaderboard"
        )
    return sorted((read(path) for path in files), key=_order)


def _order(result: Result) -> tuple[str, ...]:
    method = "" if result.method == NONE else result.method
    return (result.model, result.concept, result.suite, method, result.config)


def records_of(results: Sequence[Result]) -> list[MetricRecord]:
    """The records of results, as `varbench.report.records.records_of` has them of cells."""
    return [record for result in results for record in _records(result)]


def _records(result: Result) -> Iterator[MetricRecord]:
    names = ("model", "method", "config", "concept", "suite", "family", "embedded", "status")
    shared = {name: getattr(result, name) for name in names}
    machines = {cell.seed: machine_of(cell.body) for cell in cells_of([result])}
    machines[None] = "; ".join(sorted(set(machines.values())))
    metrics: tuple[MetricValues | Cost, ...] = (*result.metrics, *result.costs.values)
    for metric in metrics:
        labels = shared | {
            "metric": metric.metric,
            "prompt_set": getattr(metric, "prompt_set", result.suite),
            "baseline": getattr(metric, "baseline", None),
        }
        mean = _record(metric, None, machines, labels)
        values = [seed.value for seed in metric.seeds if seed.value is not None]
        lowest, highest = min(values, default=None), max(values, default=None)
        yield replace(mean, seeds=len(values), seed_min=lowest, seed_max=highest)
        each: Sequence[SeedValue | SeedCost] = metric.seeds
        for seed in each:
            yield _record(seed, seed.seed, machines, labels).of_one_seed()


def _record(
    part: MetricValues | SeedValue | Cost | SeedCost,
    seed: int | None,
    machines: Mapping[int | None, str],
    labels: Mapping[str, Any],
) -> MetricRecord:
    """A mean or a seed's value as a record; a cost has its value only."""
    names = ("ci_low", "ci_high", "n", "n_failed")
    numbers: dict[str, Any] = {name: getattr(part, name, None) for name in names}
    by = getattr(part, "difference", None)
    numbers |= {f"diff_{end}": getattr(by, end, None) for end in ("value", "low", "high")}
    machine = machines.get(seed, machines[None])
    return MetricRecord(seed=seed, value=part.value, machine=machine, **numbers, **labels)


def cells_of(results: Sequence[Result]) -> list[CellRecord]:
    """Stand-ins for the cells of results, one per edit seed: provenance without numbers."""
    names = ("model", "method", "config", "concept", "suite", "family", "embedded")
    return [
        CellRecord(
            key=run.cell,
            seed=run.seed,
            body=_body(result, run),
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
