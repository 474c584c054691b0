"""From a store to results files: one per model, concept, method and settings, over its edit seeds.

The numbers are the records of a report (`varbench.report.records`), so a published number is the
one that `varbench report` shows. What they depend on comes from the cells and their specs, and must
be the same for all seeds. No file says when it was published: the same store gives the same bytes.
"""

from __future__ import annotations

from collections.abc import Callable, Container, Sequence
from itertools import groupby
from pathlib import Path
from typing import Any

from varbench.leaderboard.json_files import ResultsError
from varbench.leaderboard.mixtures import check_one_panel
from varbench.leaderboard.records import metric_values, part_of
from varbench.leaderboard.renew import renew
from varbench.leaderboard.results import (
    Cost,
    Costs,
    Instrument,
    MetricValues,
    Provenance,
    Result,
    Run,
    SeedCost,
)
from varbench.leaderboard.rows import Published, Rows
from varbench.report.cells import CellRecord, Filters, load_cells, select
from varbench.report.records import records_of
from varbench.store import Store, digest

Settings = tuple[str, str, str, str]
Seeds = Sequence[CellRecord]
"""The cells of one results file, one per edit seed."""


def publish(
    store: Store, out: Path, filters: Filters | None = None, *, variants: bool = False
) -> list[Path]:
    """Write the results files of a store's cells with their rows; returns all that it wrote.

    Args:
        store: read only.
        out: the leaderboard's folder. Files there of which an interval changes are written, too.
        filters: select cells; those of the base model are always published.
        variants: publish settings other than the model's own, too.

    Raises:
        ReportError: nothing matches.
        ResultsError: files would mix suites or settings, or a file seeds that were measured
            differently, or rows are missing. Nothing is written then.
    """
    cells = select(load_cells(store), filters or Filters())
    for cell in cells:
        if source := cell.body["provenance"].get("source"):
            raise ResultsError(
                f"{cell.method} on {cell.model} are {source}, which nobody can repeat with a "
                "command: choose the others with --model"
            )
    check_one_panel(cells)
    defaults = _default_settings(cells)
    chosen = [cell for cell in cells if variants or settings_of(cell) in defaults]
    if not chosen:
        raise ResultsError("every method ran with settings of yours: publish them with --variants")
    return renew(out, results_of(chosen, defaults))


def _rows(seeds: Seeds) -> Rows:
    """The rows of a results file."""
    for cell in seeds:
        if cell.rows_file is None:
            raise ResultsError(f"{cell.method} on {cell.concept} has no rows: run it again")
    return {run.seed: cell.samples for run, cell in zip(map(_run, seeds), seeds, strict=True)}


def settings_of(measured: CellRecord | Result) -> Settings:
    """Model, concept, method and config, which the edit seeds of one results file share."""
    return measured.model, measured.concept, measured.method, measured.config


def results_of(cells: Sequence[CellRecord], defaults: Container[Settings]) -> list[Published]:
    """Results of cells with their rows, one per settings, in the order of the cells.

    Args:
        cells: all edit seeds, lowest first.
        defaults: the settings that are the models' own.

    Raises:
        ResultsError: the seeds of a result were measured differently.
    """
    groups: dict[Settings, list[CellRecord]] = {}
    for cell in cells:
        groups.setdefault(settings_of(cell), []).append(cell)
    return [(_result(g, settings in defaults), _rows(g)) for settings, g in groups.items()]


def _default_settings(cells: Sequence[CellRecord]) -> set[Settings]:
    """The models' own settings of methods: those that ran last without being overridden."""
    newest: dict[tuple[str, str, str], tuple[tuple[int, str], Settings]] = {}
    for cell in cells:
        if not any(o.startswith(("method.", "pairs=")) for o in cell.body["overrides"]):
            place, candidate = settings_of(cell)[:3], (cell.turn, settings_of(cell))
            newest[place] = max(newest.get(place, candidate), candidate)
    return {settings for _, settings in newest.values()}


def _result(seeds: Seeds, default: bool) -> Result:
    costs = {metric for cell in seeds for metric in cell.costs}
    statistics = {metric: one.statistic for c in seeds for metric, one in c.samples.items()}
    versions = _same(seeds, lambda cell: cell.spec["metrics"], "versions of metrics")
    values: list[MetricValues] = []
    spent: list[Cost] = []
    for (metric, _), group in groupby(records_of(seeds), lambda r: (r.metric, r.prompt_set)):
        mean, *each = group
        if metric in costs:
            costs_of_seeds = tuple(part_of(SeedCost, one) for one in each)
            spent.append(part_of(Cost, mean, seeds=costs_of_seeds))
        else:
            note = " | ".join(dict.fromkeys(one.note for one in each if one.note))
            version, statistic = versions.get(metric), statistics.get(metric)
            values.append(metric_values(mean, each, version, statistic, note))
    devices = [cell.body["provenance"]["device"] for cell in seeds]
    shared = ("model", "embedded", "concept", "family", "suite", "method", "config")
    return Result(
        schema_version=1,
        status="measured",
        default=default,
        metrics=tuple(values),
        costs=Costs(devices=tuple(dict.fromkeys(devices)), values=tuple(spent)),
        provenance=_provenance(seeds),
        sha256="0" * 64,  # until it is hashed
        **{name: getattr(seeds[0], name) for name in shared},
    ).hashed()


def _same(seeds: Seeds, of: Callable[[CellRecord], Any], what: str) -> Any:
    """A part of the cells that all seeds agree on.

    Raises:
        ResultsError: they do not; `what` names the part.
    """
    value = of(seeds[0])
    for cell in seeds:
        if of(cell) != value:
            numbers = [str(one.seed) for one in seeds]
            raise ResultsError(
                f"seeds {numbers[0]} and {cell.seed} of {cell.method} on {cell.concept} "
                f"have different {what}: run --method {cell.method} --concept {cell.concept} "
                f"--seed {','.join(numbers)} again"
            )
    return value


def _provenance(seeds: Seeds) -> Provenance:
    """Everything that the values depend on. Raises ResultsError if seeds differ in it."""

    def recorded(name: str) -> Any:
        return _same(seeds, lambda cell: cell.body["provenance"][name], name.replace("_", " "))

    config = dict(_same(seeds, lambda cell: cell.body["resolved_config"], "settings"))
    # Where the weights lie says nothing of them; the fingerprint does.
    config["model"] = {k: v for k, v in config["model"].items() if k != "weights"}
    scorers = _same(seeds, lambda c: c.spec["scorers"] | c.spec.get("comparers", {}), "scorers")
    judge, version, fingerprint = recorded("judge")
    versions = [cell.body["provenance"]["versions"] for cell in seeds]
    return Provenance(
        model_fingerprint=recorded("model_fingerprint"),
        model_files=recorded("model_files"),
        concept_sha256=recorded("concept"),
        concept_file=_same(seeds, lambda cell: cell.body["concept_file"], "concept files"),
        suite_sha256=digest(config["suite"]),
        prompts_sha256=_same(seeds, _prompts_sha256, "prompts"),
        method_version=_same(seeds, _method_version, "versions of the method"),
        stage_versions=_same(
            seeds, lambda c: {stage: c.spec[stage] for stage in ("generate", "probe")}, "stages"
        ),
        scorers=tuple(
            Instrument(name=name, version=made[0], fingerprint=made[1])
            for name, made in sorted(scorers.items())
        ),
        judge=Instrument(name=judge, version=version, fingerprint=fingerprint),
        resolved_config=config,
        versions={
            library: tuple(dict.fromkeys(one.get(library, "unknown") for one in versions))
            for library in dict.fromkeys(name for one in versions for name in one)
        },
        plugins=recorded("plugins"),
        runs=tuple(_run(cell) for cell in seeds),
    )


def _run(cell: CellRecord) -> Run:
    assert cell.seed is not None  # cells that a run wrote have one
    origin = cell.body["provenance"]
    return Run(
        seed=cell.seed,
        cell=cell.key,
        command=cell.body["command"],
        commit=origin["commit"],
        device=origin["device"],
    )


def _prompts_sha256(cell: CellRecord) -> str:
    """Of the suite's groups only: an attack may add groups that some methods do not have."""
    groups = cell.body["resolved_config"]["suite"]["groups"]
    return digest(
        {
            group: [[image["prompt_id"], image["seed"]] for image in cell.images[group]]
            for group in groups
            if group in cell.images
        }
    )


def _method_version(cell: CellRecord) -> int | None:
    decisive = cell.spec["edit"] or cell.spec["steering"]
    return None if decisive is None else int(decisive["version"])
