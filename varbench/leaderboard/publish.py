"""From a store to results files: one per model, concept, method and settings, over its edit seeds.

The numbers are the records of a report (`varbench.report.records`), so a published number is the
one that `varbench report` shows. What they depend on comes from the cells and their specs, and must
be the same for all seeds. No metric is computed here, and no file says when it was published: the
same store gives the same bytes.
"""

from __future__ import annotations

from collections.abc import Container, Mapping, Sequence
from itertools import groupby
from pathlib import Path
from typing import Any

from varbench.leaderboard.json_files import ResultsError
from varbench.leaderboard.provenance import SeedCells, provenance_of
from varbench.leaderboard.results import (
    Cost,
    Costs,
    Difference,
    MetricValues,
    Result,
    SeedCost,
    SeedValue,
    write,
)
from varbench.metrics.record import MetricRecord
from varbench.metrics.stats.paired_samples import Statistic, read_rows
from varbench.report.cells import CellRecord, Filters, load_cells, select
from varbench.report.records import records_of
from varbench.store import Store

Settings = tuple[str, str, str, str]
"""Model, concept, method, config."""
_NOT_HASHED = "0" * 64


def publish(
    store: Store, out: Path, filters: Filters | None = None, *, variants: bool = False
) -> list[Path]:
    """Write the results files of a store's cells; returns them, sorted.

    Args:
        store: read only.
        out: the leaderboard's folder.
        filters: select cells; those of the base model are always published.
        variants: publish settings other than the model's own, too.

    Raises:
        ReportError: nothing matches.
        ResultsError: a file would mix suites, or seeds that were measured differently. Nothing is
            written then.
    """
    cells = select(load_cells(store), filters or Filters())
    for cell in cells:
        if source := cell.body["provenance"].get("source"):
            raise ResultsError(
                f"{cell.method} on {cell.model} are {source}, which nobody can repeat with a "
                "command: choose the others with --model"
            )
    _check_one_suite(cells)
    defaults = _default_settings(cells)
    chosen = [cell for cell in cells if variants or settings_of(cell) in defaults]
    if not chosen:
        raise ResultsError("every method ran with settings of yours: publish them with --variants")
    return sorted(write(out, result) for result in results_of(store, chosen, defaults))


def settings_of(cell: CellRecord) -> Settings:
    """The settings that the edit seeds of one results file share."""
    return cell.model, cell.concept, cell.method, cell.config


def results_of(
    store: Store, cells: Sequence[CellRecord], defaults: Container[Settings]
) -> list[Result]:
    """Results of cells, one per settings, in the order of the cells.

    Args:
        store: that holds them.
        cells: all edit seeds, lowest first.
        defaults: the settings that are the models' own.

    Raises:
        ResultsError: the seeds of a result were measured differently.
    """
    groups: dict[Settings, list[CellRecord]] = {}
    for cell in cells:
        groups.setdefault(settings_of(cell), []).append(cell)
    return [
        _result(SeedCells(group, [_spec(store, cell) for cell in group]), settings in defaults)
        for settings, group in groups.items()
    ]


def _check_one_suite(cells: Sequence[CellRecord]) -> None:
    suites: dict[tuple[str, str], set[str]] = {}
    for cell in cells:
        suites.setdefault((cell.model, cell.concept), set()).add(cell.suite)
    for (model, concept), names in suites.items():
        if len(names) > 1:
            raise ResultsError(
                f"{concept} on {model} was measured on several suites ({', '.join(sorted(names))}),"
                " and a leaderboard compares on one: choose with --suite"
            )


def _default_settings(cells: Sequence[CellRecord]) -> set[Settings]:
    """The models' own settings of methods: those that ran last without being overridden."""
    newest: dict[tuple[str, str, str], tuple[tuple[int, str], Settings]] = {}
    for cell in cells:
        if not any(o.startswith(("method.", "pairs=")) for o in cell.body["overrides"]):
            place, candidate = settings_of(cell)[:3], (cell.turn, settings_of(cell))
            newest[place] = max(newest.get(place, candidate), candidate)
    return {settings for _, settings in newest.values()}


def _spec(store: Store, cell: CellRecord) -> Mapping[str, Any]:
    entry = store.find("cell", cell.key)
    if entry is None:
        raise ResultsError(f"cell {cell.key[:8]} is gone from the store: run the command again")
    return entry.spec


def _result(seeds: SeedCells, default: bool) -> Result:
    first = seeds.cells[0]
    costs = {metric for cell in seeds.cells for metric in cell.costs}
    samples = [read_rows(cell.rows_file) for cell in seeds.cells if cell.rows_file]
    statistics = {metric: one.statistic for by in samples for metric, one in by.items()}
    values: list[MetricValues] = []
    spent: list[Cost] = []
    for (metric, _), group in groupby(records_of(seeds.cells), lambda r: (r.metric, r.prompt_set)):
        mean, *each = group
        if metric in costs:
            spent.append(_cost(mean, each))
        else:
            values.append(_metric(mean, each, seeds, statistics.get(metric)))
    return Result(
        schema_version=1,
        status="measured",
        model=first.model,
        embedded=first.embedded,
        concept=first.concept,
        family=first.family,
        method=first.method,
        config=first.config,
        default=default,
        suite=first.suite,
        metrics=tuple(values),
        costs=Costs(devices=tuple(dict.fromkeys(seeds.provenance("device"))), values=tuple(spent)),
        provenance=provenance_of(seeds),
        sha256=_NOT_HASHED,
    ).hashed()


def _metric(
    mean: MetricRecord, each: Sequence[MetricRecord], seeds: SeedCells, statistic: Statistic | None
) -> MetricValues:
    metric = mean.metric
    version = seeds.same_spec(lambda spec: spec["metrics"].get(metric), f"versions of {metric}")
    return MetricValues(
        metric=metric,
        version=version,
        prompt_set=mean.prompt_set,
        statistic=statistic,
        baseline=mean.baseline,
        seed_min=mean.seed_min,
        seed_max=mean.seed_max,
        seeds=tuple(SeedValue(**_numbers(one, "seed")) for one in each),
        note=" | ".join(dict.fromkeys(one.note for one in each if one.note)),
        **_numbers(mean),
    )


def _numbers(record: MetricRecord, *names: str) -> dict[str, Any]:
    """The fields that a mean and a seed's value both have, and further ones."""
    by, low, high = record.diff_value, record.diff_low, record.diff_high
    difference = None if by is None else Difference(value=by, low=low, high=high)
    names = (*names, "value", "ci_low", "ci_high", "n", "n_failed")
    return {name: getattr(record, name) for name in names} | {"difference": difference}


def _cost(mean: MetricRecord, each: Sequence[MetricRecord]) -> Cost:
    fields: list[dict[str, Any]] = [{"seed": one.seed, "value": one.value} for one in each]
    seeds = tuple(SeedCost(**one) for one in fields)
    return Cost.model_validate({"metric": mean.metric, "value": mean.value, "seeds": seeds})
