"""Results files as the tables and the page of a report, and as one DataFrame."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import Any

import pandas as pd

from varbench.leaderboard.results import (
    Cost,
    Difference,
    MetricValues,
    Result,
    ResultsError,
    Run,
    read,
    results_files,
)
from varbench.report.records import BASE, Cell, load_records, machine_of, typed
from varbench.store import Store


def load_results(path: str | Path) -> pd.DataFrame:
    """Results as one DataFrame with a row per number: a leaderboard's folder, or a store.

    Columns: `RECORD_FIELDS` and `EXTRA_FIELDS` of `varbench.report.records`. A row has the value of
    one metric with its 95 % interval, its n, the unerased model's value and the paired difference;
    `seed` is missing in the mean over edit seeds, which comes before the seeds' own rows.

    Raises:
        ResultsError: there are no results files, or one is malformed.
        ReportError: the store holds no results.
    """
    folder = Path(path)
    if (folder / "cell").is_dir():
        return load_records(Store(folder))
    return records_of(load(folder))


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


def records_of(results: Sequence[Result]) -> pd.DataFrame:
    """Results as the records of a report, as `report.records.build_records` makes them of cells."""
    return typed([row for result in results for row in _rows(result)])


def _rows(result: Result) -> Iterator[dict[str, Any]]:
    names = ("model", "method", "config", "concept", "suite", "family", "embedded", "status")
    same = {name: getattr(result, name) for name in names}
    machines = {c.seed: machine_of(c.body) for c in cells_of([result])}
    all_machines = "; ".join(sorted(set(machines.values())))
    for metric in result.metrics:
        for row in _metric(metric):
            yield same | {"machine": machines.get(row.get("seed"), all_machines)} | row
    for cost in result.costs.values:
        for row in _cost(cost):
            yield same | {"prompt_set": result.suite, "machine": all_machines} | row


def _metric(metric: MetricValues) -> Iterator[dict[str, Any]]:
    names = ("metric", "prompt_set", "baseline")
    same = {name: getattr(metric, name) for name in names}
    numbers = ("value", "ci_low", "ci_high", "n", "n_failed")
    yield {
        **same,
        **{name: getattr(metric, name) for name in numbers},
        **_difference(metric.difference),
        "seeds": sum(one.value is not None for one in metric.seeds),
        "seed_min": metric.seed_min,
        "seed_max": metric.seed_max,
    }
    for one in metric.seeds:
        yield {
            **same,
            **{name: getattr(one, name) for name in numbers},
            **_difference(one.difference),
            "seed": one.seed,
            "seeds": 1,
            "seed_min": one.value,
            "seed_max": one.value,
        }


def _difference(found: Difference | None) -> dict[str, float | None]:
    return {f"diff_{end}": getattr(found, end, None) for end in ("value", "low", "high")}


def _cost(cost: Cost) -> Iterator[dict[str, Any]]:
    each = [one.value for one in cost.seeds]
    ends = {"seed_min": min(each), "seed_max": max(each)}
    yield {"metric": cost.metric, "value": cost.value, "seeds": len(each), **ends}
    for one in cost.seeds:
        ends = {"seed_min": one.value, "seed_max": one.value}
        yield {"metric": cost.metric, "value": one.value, "seed": one.seed, "seeds": 1, **ends}


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
