"""From a store to results files: one per model, concept, method and settings, over its edit seeds.

Values come from the same records as a report's (`varbench.report.records`), so that a published
number is the one that `varbench report` shows. What they depend on comes from the cells and their
specs, and must be the same for all seeds. Nothing here computes a metric, and nothing in a file
says when it was published: the same store gives the same bytes.
"""

from __future__ import annotations

from collections.abc import Callable, Container, Mapping, Sequence
from dataclasses import dataclass
from itertools import groupby
from pathlib import Path
from typing import Any

from varbench.leaderboard.results import (
    Cost,
    Costs,
    Difference,
    Instrument,
    MetricValues,
    Provenance,
    Result,
    ResultsError,
    Run,
    SeedCost,
    SeedValue,
    write,
)
from varbench.metrics.record import MetricRecord
from varbench.metrics.stats.paired_samples import Statistic, read_rows
from varbench.report.records import Cell, Filters, load_cells, records_of, select
from varbench.store import Store, digest

Settings = tuple[str, str, str, str]
"""Model, concept, method, config."""
_UNSEALED = "0" * 64


@dataclass(frozen=True)
class _Seed:
    """A cell with its spec, which holds the versions of all that looked at its images."""

    cell: Cell
    spec: Mapping[str, Any]

    @property
    def number(self) -> int:
        """The edit seed; cells that a run wrote have one."""
        assert self.cell.seed is not None
        return self.cell.seed


def publish(
    store: Store, out: Path, filters: Filters | None = None, *, variants: bool = False
) -> list[Path]:
    """Write the results files of a store's cells; returns them, sorted.

    Args:
        store: read only.
        out: the leaderboard's folder.
        filters: which cells; the unerased model's always.
        variants: publish settings other than the model's own, too.

    Raises:
        ReportError: nothing matches.
        ResultsError: several suites want the same file, or seeds were measured differently.
            Nothing is written then.
    """
    cells = select(load_cells(store), filters or Filters())
    for cell in cells:
        if "source" in cell.body["provenance"]:
            raise ResultsError(
                f"{cell.method} on {cell.model} are {cell.body['provenance']['source']}, which "
                "nobody can repeat with a command: choose the others with --model"
            )
    _one_suite(cells)
    own = _own_settings(store, cells)
    chosen = [cell for cell in cells if variants or settings_of(cell) in own]
    if not chosen:
        raise ResultsError("every method ran with settings of yours: publish them with --variants")
    return sorted(write(out, result) for result in results_of(store, chosen, own))


def settings_of(cell: Cell) -> Settings:
    """What the edit seeds of one results file share."""
    return cell.model, cell.concept, cell.method, cell.config


def results_of(store: Store, cells: Sequence[Cell], own: Container[Settings]) -> list[Result]:
    """Results of cells, one per settings, in the order of the cells.

    Args:
        store: that holds them.
        cells: all edit seeds.
        own: the settings that are the models' own.

    Raises:
        ResultsError: seeds were measured differently.
    """
    groups: dict[Settings, list[_Seed]] = {}
    for cell in cells:
        groups.setdefault(settings_of(cell), []).append(_Seed(cell, _spec(store, cell)))
    return [result_of(seeds, default=settings in own) for settings, seeds in groups.items()]


def _one_suite(cells: Sequence[Cell]) -> None:
    suites: dict[tuple[str, str], set[str]] = {}
    for cell in cells:
        suites.setdefault((cell.model, cell.concept), set()).add(cell.suite)
    for (model, concept), names in suites.items():
        if len(names) > 1:
            some = ", ".join(sorted(names))
            raise ResultsError(
                f"{concept} on {model} was measured on several suites ({some}), and a leaderboard "
                "compares on one: choose with --suite"
            )


def _own_settings(store: Store, cells: Sequence[Cell]) -> set[Settings]:
    """The settings that a model has for a method: those that ran without being overridden.

    Where they changed since, those that ran last.
    """
    newest: dict[tuple[str, str, str], tuple[tuple[int, str], Settings]] = {}
    for cell in cells:
        overrides = cell.body["overrides"]
        if any(o.startswith(("method.", "pairs=")) for o in overrides):
            continue
        found = (cell.turn, settings_of(cell))
        place = (cell.model, cell.concept, cell.method)
        newest[place] = max(newest.get(place, found), found)
    return {settings for _, settings in newest.values()}


def _spec(store: Store, cell: Cell) -> Mapping[str, Any]:
    entry = store.find("cell", cell.key)
    if entry is None:
        raise ResultsError(f"cell {cell.key[:8]} is gone from the store: run the command again")
    return entry.spec


def result_of(seeds: Sequence[_Seed], *, default: bool) -> Result:
    """The results file of one model, concept, method and settings.

    Args:
        seeds: its edit seeds, lowest first.
        default: whether the settings are the model's own.

    Raises:
        ResultsError: the seeds were not measured alike.
    """
    cells = [seed.cell for seed in seeds]
    first = cells[0]
    statistics = _statistics(cells)
    costs = {metric for cell in cells for metric in cell.costs}
    values: list[MetricValues] = []
    spent: list[Cost] = []
    for (metric, _), group in groupby(records_of(cells), lambda r: (r.metric, r.prompt_set)):
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
        costs=Costs(devices=_distinct(seeds, "device"), values=tuple(spent)),
        provenance=_provenance(seeds),
        sha256=_UNSEALED,
    ).sealed()


def _statistics(cells: Sequence[Cell]) -> dict[str, Statistic]:
    """By metric, how rows become its value, where a seed has rows."""
    found: dict[str, Statistic] = {}
    for cell in cells:
        assert cell.rows_file is not None
        found |= {metric: rows.statistic for metric, rows in read_rows(cell.rows_file).items()}
    return found


def _metric(
    mean: MetricRecord,
    each: Sequence[MetricRecord],
    seeds: Sequence[_Seed],
    statistic: Statistic | None,
) -> MetricValues:
    metric = mean.metric
    return MetricValues(
        metric=metric,
        version=_same(seeds, lambda s: s.spec["metrics"].get(metric), f"versions of {metric}"),
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
    """The numbers that a mean and a seed's value both have, and further fields."""
    by, low, high = record.diff_value, record.diff_low, record.diff_high
    difference = None if by is None else Difference(value=by, low=low, high=high)
    names = (*names, "value", "ci_low", "ci_high", "n", "n_failed")
    return {name: getattr(record, name) for name in names} | {"difference": difference}


def _cost(mean: MetricRecord, each: Sequence[MetricRecord]) -> Cost:
    fields = ({name: getattr(one, name) for name in ("seed", "value")} for one in each)
    seeds = tuple(SeedCost(**one) for one in fields)
    return Cost.model_validate({"metric": mean.metric, "value": mean.value, "seeds": seeds})


def _provenance(seeds: Sequence[_Seed]) -> Provenance:
    def same(of: Callable[[_Seed], Any], what: str) -> Any:
        return _same(seeds, of, what)

    def noted(name: str) -> Any:
        return same(lambda s: s.cell.body["provenance"][name], name.replace("_", " "))

    stages = same(lambda s: {stage: s.spec[stage] for stage in ("generate", "probe")}, "stages")
    name, version, fingerprint = noted("judge")
    config = same(lambda s: s.cell.body["resolved_config"], "settings")
    config["model"].pop("weights", None)  # a path; the fingerprint says what is there
    scorers = same(lambda s: s.spec["scorers"] | s.spec.get("comparers", {}), "scorers")
    libraries = dict.fromkeys(name for seed in seeds for name in _noted(seed, "versions"))
    return Provenance(
        model_fingerprint=noted("model_fingerprint"),
        model_files=noted("model_files"),
        concept_sha256=noted("concept"),
        concept_file=same(lambda s: s.cell.body["concept_file"], "concept files"),
        suite_sha256=digest(config["suite"]),
        prompts_sha256=same(_prompts_sha256, "prompts"),
        method_version=same(_method_version, "versions of the method"),
        stage_versions=stages,
        scorers=tuple(
            Instrument(name=role, version=made[0], fingerprint=made[1])
            for role, made in sorted(scorers.items())
        ),
        judge=Instrument(name=name, version=version, fingerprint=fingerprint),
        resolved_config=config,
        versions={
            name: tuple(dict.fromkeys(_noted(s, "versions").get(name, "unknown") for s in seeds))
            for name in libraries
        },
        plugins=noted("plugins"),
        runs=tuple(
            Run(
                seed=seed.number,
                cell=seed.cell.key,
                command=seed.cell.body["command"],
                commit=_noted(seed, "commit"),
                device=_noted(seed, "device"),
            )
            for seed in seeds
        ),
    )


def _noted(seed: _Seed, name: str) -> Any:
    return seed.cell.body["provenance"][name]


def _distinct(seeds: Sequence[_Seed], name: str) -> tuple[str, ...]:
    return tuple(dict.fromkeys(_noted(seed, name) for seed in seeds))


def _same(seeds: Sequence[_Seed], of: Callable[[_Seed], Any], what: str) -> Any:
    """What all seeds agree on.

    Raises:
        ResultsError: they do not.
    """
    first = of(seeds[0])
    for seed in seeds[1:]:
        if of(seed) != first:
            cell, numbers = seed.cell, ",".join(str(s.number) for s in seeds)
            raise ResultsError(
                f"seeds {seeds[0].number} and {seed.number} of {cell.method} on {cell.concept} "
                f"have different {what}: run --method {cell.method} --concept {cell.concept} "
                f"--seed {numbers} again"
            )
    return first


def _prompts_sha256(seed: _Seed) -> str:
    """Of the suite's groups; an attack may add groups that only some methods have."""
    images = seed.cell.body["pictures"]
    asked = [n for n in seed.cell.body["resolved_config"]["suite"]["groups"] if n in images]
    return digest({name: [[p["prompt_id"], p["seed"]] for p in images[name]] for name in asked})


def _method_version(seed: _Seed) -> int | None:
    decides = seed.spec["edit"] or seed.spec["steering"]
    return None if decides is None else int(decides["version"])
