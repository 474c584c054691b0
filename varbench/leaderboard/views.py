"""Results files as the tables and the page of a report, and as one DataFrame."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import Any

import pandas as pd

from varbench.leaderboard.results import (
    MetricValues,
    Result,
    ResultsError,
    Run,
    SeedValue,
    read,
    results_files,
)
from varbench.metrics.record import MetricRecord
from varbench.report.records import BASE, Cell, load_records, machine_of, to_frame
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
        return load_records(Store(folder))
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
    method = "" if result.method == BASE else result.method
    return (result.model, result.concept, result.suite, method, result.config)


def records_of(results: Sequence[Result]) -> list[MetricRecord]:
    """The records of results, as `report.records.records_of` has them of a store's cells."""
    return [record for result in results for record in _records(result)]


def _records(result: Result) -> Iterator[MetricRecord]:
    names = ("model", "method", "config", "concept", "suite", "family", "embedded", "status")
    labels = {name: getattr(result, name) for name in names}
    machines = {cell.seed: machine_of(cell.body) for cell in cells_of([result])}
    all_machines = "; ".join(sorted(set(machines.values())))
    for metric in result.metrics:
        labels |= {"metric": metric.metric, "prompt_set": metric.prompt_set}
        labels |= {"baseline": metric.baseline}
        yield MetricRecord(
            seed=None,
            seeds=sum(one.value is not None for one in metric.seeds),
            seed_min=metric.seed_min,
            seed_max=metric.seed_max,
            machine=all_machines,
            **_numbers(metric),
            **labels,
        )
        for one in metric.seeds:
            machine = machines.get(one.seed, all_machines)
            record = MetricRecord(seed=one.seed, machine=machine, **_numbers(one), **labels)
            yield record.of_one_seed()
    labels |= {"prompt_set": result.suite, "baseline": None, "machine": all_machines}
    for cost in result.costs.values:
        labels["metric"] = cost.metric
        values = [one.value for one in cost.seeds]
        yield MetricRecord(
            seed=None,
            value=cost.value,
            seeds=len(values),
            seed_min=min(values),
            seed_max=max(values),
            **labels,
        )
        for spent in cost.seeds:
            yield MetricRecord(seed=spent.seed, value=spent.value, **labels).of_one_seed()


def _numbers(metric: MetricValues | SeedValue) -> dict[str, Any]:
    """The numbers that a mean and a seed's value both have."""
    names = ("value", "ci_low", "ci_high", "n", "n_failed")
    ends = {
        f"diff_{end}": getattr(metric.difference, end, None) for end in ("value", "low", "high")
    }
    return {name: getattr(metric, name) for name in names} | ends


def cells_of(results: Sequence[Result]) -> list[Cell]:
    """What stands for the cells of results, one per edit seed: provenance, no numbers."""
    return [
        Cell(
            key=run.cell,
            model=result.model,
            embedded=result.embedded,
            method=result.method,
            config=result.config,
            concept=result.concept,
            family=result.family,
            suite=result.suite,
            seed=run.seed,
            body=_body(result, run),
            rows_file=None,
            costs={},
        )
        for result in results
        for run in result.provenance.runs
    ]


def _body(result: Result, run: Run) -> dict[str, Any]:
    provenance = result.provenance.model_dump(mode="json") | {"device": run.device}
    config = provenance.pop("resolved_config")
    own = {"method_config": config["method"], "resolved_config": config}
    return {"command": run.command, "provenance": provenance} | own
