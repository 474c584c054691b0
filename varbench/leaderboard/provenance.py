"""The provenance of a results file, on which the cells of all its edit seeds must agree."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

from varbench.leaderboard.json_files import ResultsError
from varbench.leaderboard.results import Instrument, Provenance, Run
from varbench.report.cells import CellRecord
from varbench.store import digest


@dataclass(frozen=True)
class SeedCells:
    """The cells of one results file, one per edit seed; specs hold the versions of all scorers."""

    cells: Sequence[CellRecord]
    specs: Sequence[Mapping[str, Any]]

    def provenance(self, name: str) -> list[Any]:
        """One field of the provenance, by seed."""
        return [cell.body["provenance"][name] for cell in self.cells]

    def same_spec(self, of: Callable[[Mapping[str, Any]], Any], what: str) -> Any:
        """A part of the spec that all seeds agree on. Raises ResultsError."""
        return self.same([of(spec) for spec in self.specs], what)

    def same(self, values: Sequence[Any], what: str) -> Any:
        """The value that all seeds agree on.

        Raises:
            ResultsError: they do not; `what` names the values.
        """
        for cell, value in zip(self.cells, values, strict=True):
            if value != values[0]:
                seeds = [str(one.seed) for one in self.cells]
                raise ResultsError(
                    f"seeds {seeds[0]} and {cell.seed} of {cell.method} on {cell.concept} "
                    f"have different {what}: run --method {cell.method} --concept {cell.concept} "
                    f"--seed {','.join(seeds)} again"
                )
        return values[0]


def provenance_of(seeds: SeedCells) -> Provenance:
    """Everything that the values depend on. Raises ResultsError if seeds differ in it."""

    def recorded(name: str) -> Any:
        return seeds.same(seeds.provenance(name), name.replace("_", " "))

    bodies = [cell.body for cell in seeds.cells]
    config = dict(seeds.same([body["resolved_config"] for body in bodies], "settings"))
    # Where the weights lie says nothing of them; the fingerprint does.
    config["model"] = {k: v for k, v in config["model"].items() if k != "weights"}
    scorers = seeds.same_spec(lambda s: s["scorers"] | s.get("comparers", {}), "scorers")
    judge, version, fingerprint = recorded("judge")
    versions = seeds.provenance("versions")
    return Provenance(
        model_fingerprint=recorded("model_fingerprint"),
        model_files=recorded("model_files"),
        concept_sha256=recorded("concept"),
        concept_file=seeds.same([body["concept_file"] for body in bodies], "concept files"),
        suite_sha256=digest(config["suite"]),
        prompts_sha256=seeds.same([_prompts_sha256(body) for body in bodies], "prompts"),
        method_version=seeds.same_spec(_method_version, "versions of the method"),
        stage_versions=seeds.same_spec(
            lambda spec: {stage: spec[stage] for stage in ("generate", "probe")}, "stages"
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
        runs=tuple(_run(cell) for cell in seeds.cells),
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


def _prompts_sha256(body: Mapping[str, Any]) -> str:
    """Of the suite's groups only: an attack may add groups that some methods do not have."""
    images = body["pictures"]
    groups = [name for name in body["resolved_config"]["suite"]["groups"] if name in images]
    return digest({name: [[p["prompt_id"], p["seed"]] for p in images[name]] for name in groups})


def _method_version(spec: Mapping[str, Any]) -> int | None:
    decisive = spec["edit"] or spec["steering"]
    return None if decisive is None else int(decisive["version"])
