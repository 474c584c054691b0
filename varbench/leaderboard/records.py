"""Results files as the records and cells of a report and back, and as one DataFrame."""

from __future__ import annotations

import logging
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass, replace
from functools import cache, cached_property, partial
from pathlib import Path
from typing import Any, TypeVar

import pandas as pd

from varbench.leaderboard.json_files import Part, ResultsError
from varbench.leaderboard.results import (
    EDITED,
    SUPERSEDED,
    Cost,
    MetricValues,
    Result,
    Run,
    SeedValue,
    read,
    results_files,
)
from varbench.leaderboard.rows import Rows
from varbench.methods.registry import NONE
from varbench.metrics.record import MetricRecord
from varbench.metrics.stats import PairedSamples, Statistic
from varbench.report.cells import CellRecord, machine_of
from varbench.report.records import load_records, to_frame
from varbench.store import Store

log = logging.getLogger("varbench.leaderboard")
P = TypeVar("P", bound=Part)


def load_results(path: str | Path, *, superseded: bool = False) -> pd.DataFrame:
    """Results as one DataFrame with a row per number: a leaderboard's folder, or a store.

    Columns: the fields of `varbench.metrics.record.MetricRecord` up to `machine`. A row has the
    value of one metric with its 95 % interval, its n, the base model's value and the paired
    difference; `seed` is missing in the mean over edit seeds, which comes before its seeds.

    Args:
        superseded: take also results files whose numbers are superseded.

    Raises:
        ResultsError: there are no results files, or one is malformed.
        ReportError: the store holds no results.
    """
    folder = Path(path)
    if (folder / "cell").is_dir():
        return to_frame(load_records(Store(folder)))
    return to_frame(records_of(load(folder, superseded=superseded)))


def load(folder: Path, *, superseded: bool = False) -> list[Result]:
    """All results of a leaderboard's folder, in the order of a report; warns of edited files.

    Without `superseded`, results that are superseded are left out, with a warning.

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
    chosen = [r for r in results.values() if superseded or r.status != SUPERSEDED]
    if left_out := len(results) - len(chosen):
        fix = "--superseded (superseded=True) takes them"
        if not chosen:
            raise ResultsError(f"all {left_out} results in {folder} are superseded: {fix}")
        log.warning("%d superseded results of %s are left out: %s", left_out, folder, fix)
    return sorted(chosen, key=_order)


def _order(result: Result) -> tuple[str, ...]:
    method = "" if result.method == NONE else result.method
    return (result.model, result.concept, result.suite, result.settings, method, result.config)


def records_of(results: Sequence[Result]) -> list[MetricRecord]:
    """The records of results, as `varbench.report.records.records_of` has them of cells."""
    return [record for result in results for record in _records(result)]


def _records(result: Result) -> Iterator[MetricRecord]:
    names = ("model", "method", "config", "concept", "suite", "status")
    shared = {name: getattr(result, name) for name in names} | {"prompt_set": result.suite}
    machines = {run.seed: machine_of(_body(result, run)) for run in result.provenance.runs}
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


def metric_values(
    mean: MetricRecord,
    each: Sequence[MetricRecord],
    version: int | None,
    statistic: Statistic | None,
    note: str,
) -> MetricValues:
    """One metric of a results file, from the records of the mean and of each edit seed."""
    return part_of(
        MetricValues,
        mean,
        version=version,
        statistic=statistic,
        n=sum(one.n or 0 for one in each),
        n_failed=sum(one.n_failed or 0 for one in each),
        edit_df=mean.edit_df,
        seed_min=mean.seed_min,
        seed_max=mean.seed_max,
        seeds=tuple(part_of(SeedValue, one) for one in each),
        note=note,
    )


def part_of(kind: type[P], record: MetricRecord, **more: Any) -> P:
    """A part of a file: the fields that it shares with a record of a cell, and others."""
    stored = record.for_cell()
    return kind(**{name: stored[name] for name in stored if name in kind.model_fields} | more)


@dataclass(frozen=True)
class PublishedCell(CellRecord):
    """Stand-in for the cell of an edit seed of a results file: provenance and rows, no records."""

    rows: Callable[[], Rows] = dict

    @cached_property
    def samples(self) -> Mapping[str, PairedSamples]:
        """The rows of this edit seed by metric."""
        return self.rows().get(self.seed or 0, {})


def cells_of(results: Sequence[Result], read: Callable[[Result], Rows]) -> list[CellRecord]:
    """Stand-ins for the cells of results, one per edit seed.

    Args:
        read: reads the rows of a result, when they are asked for; see `rows.read_rows`.
    """
    names = ("model", "method", "config", "concept", "suite", "family", "embedded")
    return [
        PublishedCell(
            key=run.cell,
            seed=run.seed,
            body=_body(result, run),
            spec=result.conditions,
            rows=rows,
            **{name: getattr(result, name) for name in names},
        )
        for result in results
        for rows in [cache(partial(read, result)) if result.rows_sha256 else dict]
        for run in result.provenance.runs
    ]


def _body(result: Result, run: Run) -> dict[str, Any]:
    provenance = result.provenance.model_dump(mode="json") | {"device": run.device}
    config = provenance.pop("resolved_config")
    settings = {"method_config": config["method"], "resolved_config": config}
    return {"command": run.command, "provenance": provenance} | settings
