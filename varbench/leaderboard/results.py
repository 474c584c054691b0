"""Results files: what one method does to one concept, small enough to read in a pull request.

    results/leaderboard/<model>/<concept>/<method>.json            the model's own settings
    results/leaderboard/<model>/<concept>/<method>.<config>.json   other settings

`Result` is the only definition of such a file: it reads and checks them, and the published JSON
Schema is made from it (`tools.results.schema`). Measured values have six significant digits, far
more than their intervals allow: another machine's rounding rarely touches a file. `sha256` is the
hash of all else in the file: it reveals an edit by hand; a forgery only measuring again does.
"""

from __future__ import annotations

from pathlib import Path
from typing import Annotated, Any, Literal

from pydantic import AfterValidator, Field, StringConstraints

from varbench.leaderboard.json_files import Name, Number, Part, layout, read_as
from varbench.metrics.stats.paired_samples import Statistic
from varbench.store import digest
from varbench.utils.files import write_whole

Concept = Annotated[str, StringConstraints(pattern=r"^[a-z0-9-]+( of [a-z0-9-]+(\+[a-z0-9-]+)+)?$")]
"""As results are filed: `face-ada`, or `face-ada of face-ada+church` for a joint edit's share."""
EDITED = "was edited by hand: its hash does not fit; publish it again from the store"
"""The problem of a file whose `sha256` is not that of its content."""
SUPERSEDED: Literal["superseded"] = "superseded"
Sha256 = Annotated[str, StringConstraints(pattern=r"^[0-9a-f]{64}$")]


class Difference(Part):
    """Paired difference to the base model, with its 95 % interval."""

    value: Number
    low: Number | None
    high: Number | None


class SeedValue(Part):
    """One metric of one edit seed, as its cell has it."""

    seed: int
    value: Number | None
    ci_low: Number | None
    ci_high: Number | None
    n: int | None
    n_failed: int | None
    difference: Difference | None


class MetricValues(Part):
    """One metric over the edit seeds: the mean, and the seeds that it is the mean of.

    Attributes:
        version: of the metric's definition.
        statistic: how per-image numbers become the value; null where it is no mean over images or
            prompts.
        n, n_failed: images of all edits.
        baseline: the base model's value.
        edit_df: degrees of freedom of the variance between edits in the intervals; not written
            where they are of these edits only.
        note: the metric's remark, such as why there is no value.
    """

    metric: str
    version: int | None
    prompt_set: str
    statistic: Statistic | None
    value: Number | None
    ci_low: Number | None
    ci_high: Number | None
    n: int | None
    n_failed: int | None
    baseline: Number | None
    difference: Difference | None
    seed_min: Number | None
    seed_max: Number | None
    edit_df: int | None = None
    seeds: tuple[SeedValue, ...] = Field(min_length=1)
    note: str


class SeedCost(Part):
    """The cost of one edit."""

    seed: int
    value: Number


class Cost(Part):
    """One kind of cost: the mean over edit seeds, and the seeds."""

    metric: str
    value: Number
    seeds: tuple[SeedCost, ...] = Field(min_length=1)


class Costs(Part):
    """Costs of the edits on these devices; another machine would give other numbers."""

    devices: tuple[str, ...]
    values: tuple[Cost, ...]


class Instrument(Part):
    """A scorer, a comparer or the judge."""

    name: str
    version: int
    fingerprint: str


class Run(Part):
    """The run of one edit seed; `cell` is its key in the store it was published from."""

    seed: int
    cell: Sha256
    command: str
    commit: str | None
    device: str


def _has_model_settings(config: dict[str, Any]) -> dict[str, Any]:
    if not isinstance(config.get("model", {}), dict):
        raise ValueError("model must hold the model's settings")
    return config


class Provenance(Part):
    """Everything that the values depend on; all but the runs is the same for all edit seeds.

    Attributes:
        concept_sha256: of the concept: words, training pairs, prompts, judge.
        concept_file: the text of a user's own concept file; null for a packaged concept.
        suite_sha256: of the suite's settings.
        prompts_sha256: of the selected prompts and their image seeds, group by group.
        method_version: null for the base model.
        stage_versions: of the code that generates and probes.
        versions: of Python and the libraries; several where the seeds' runs differed.
    """

    model_fingerprint: str
    model_files: dict[str, Any]
    concept_sha256: Sha256
    concept_file: str | None
    suite_sha256: Sha256
    prompts_sha256: Sha256
    method_version: int | None
    stage_versions: dict[str, int]
    scorers: tuple[Instrument, ...]
    judge: Instrument
    resolved_config: Annotated[dict[str, Any], AfterValidator(_has_model_settings)]
    versions: dict[str, tuple[str, ...]]
    plugins: dict[str, dict[str, str]]
    runs: tuple[Run, ...] = Field(min_length=1)


class Result(Part):
    """A results file.

    Attributes:
        status: `SUPERSEDED` if not measured again with this world and code; else it has rows.
        config: first 8 hex digits of the hash of the resolved method settings.
        default: whether these are the model's own settings of the method.
        rows_sha256: of its rows (`varbench.leaderboard.rows`).
        sha256: of the canonical JSON of all other fields.
    """

    schema_version: Literal[1]
    status: Literal["measured", "superseded"]
    model: Name
    embedded: bool
    concept: Concept
    family: str
    suite: Name
    method: Name
    config: Annotated[str, StringConstraints(pattern=r"^[0-9a-f]{8}$")]
    default: bool
    metrics: tuple[MetricValues, ...]
    costs: Costs
    provenance: Provenance
    rows_sha256: Sha256 | None = None
    sha256: Sha256

    @property
    def path(self) -> Path:
        """The path that the file belongs at, relative to the leaderboard's folder."""
        name = self.method if self.default else f"{self.method}.{self.config}"
        return Path(self.model) / self.concept.replace(" ", "-") / f"{name}.json"

    @property
    def rows_path(self) -> Path:
        """The path of its rows, relative to the leaderboard's folder."""
        return self.path.with_suffix(".rows.csv.xz")

    @property
    def conditions(self) -> dict[str, Any]:
        """Everything that decided the numbers besides the method, as far as the file says it."""
        made = self.provenance
        config = made.resolved_config
        model = {k: v for k, v in config.get("model", {}).items() if k != "methods"}
        instruments = (*made.scorers, made.judge)
        return {
            "config": {"model": model, "suite": config.get("suite")},
            "model": made.model_fingerprint,
            "concept": made.concept_sha256,
            "prompts": made.prompts_sha256,
            "scorers": {one.name: [one.version, one.fingerprint] for one in instruments},
            **made.stage_versions,
        }

    @property
    def settings(self) -> str:
        """First 8 hex digits of the hash of its conditions."""
        return digest(self.conditions)[:8]

    def content_sha256(self) -> str:
        """The hash of everything but `sha256`."""
        return digest(self.model_dump(mode="json", exclude={"sha256"}))

    def hashed(self) -> Result:
        """The same result with the hash of its content."""
        return self.model_copy(update={"sha256": self.content_sha256()})

    def text(self) -> str:
        """The file's content; the same result gives the same bytes."""
        return layout(self.model_dump(mode="json")) + "\n"


def read(path: Path) -> Result:
    """A results file; its hash is not compared (`check` does that).

    Raises:
        ResultsError: it cannot be read or is no results file; says where and why.
    """
    return read_as(Result, path)


def results_files(folder: Path) -> list[Path]:
    """All files of a leaderboard folder, sorted."""
    return sorted(folder.glob("*/*/*.json"))


def write(folder: Path, result: Result) -> Path:
    """Write a result at its path in the leaderboard's folder; returns the file."""
    path = folder / result.path
    path.parent.mkdir(parents=True, exist_ok=True)
    write_whole(path, result.text())
    return path
