"""Results files: what one method does to one concept, small enough to read in a pull request.

    results/leaderboard/<model>/<concept>/<method>.json            the model's own settings
    results/leaderboard/<model>/<concept>/<method>.<config>.json   other settings

`Result` is the only definition of such a file: it reads and checks them, and the published JSON
Schema is made from it (`tools.results.schema`). Measured values have six significant digits,
far more than their intervals allow, and few enough that another machine's rounding rarely touches
a file. `sha256` is the hash of everything else in the file: it tells an edit by hand from a
measurement, though not a forgery; only measuring again does that.
"""

from __future__ import annotations

import json
from collections.abc import Iterator
from pathlib import Path
from typing import Annotated, Any, Literal, TypeVar

from pydantic import (
    AfterValidator,
    BaseModel,
    ConfigDict,
    Field,
    StringConstraints,
    ValidationError,
)

from varbench.errors import UserError
from varbench.metrics.stats.paired_samples import Statistic
from varbench.store import digest
from varbench.utils.files import write_whole

T = TypeVar("T", bound=BaseModel)

VERSION = 1
"""Of the schema of all files in a results folder."""
WIDTH = 150
"""Characters of a line: one metric's numbers of one edit seed fit."""


class ResultsError(UserError, ValueError):
    """A results file is malformed or cannot be made; the message names the file and the fix."""


def _rounded(value: float) -> float:
    return float(f"{value:.6g}")


Number = Annotated[float, AfterValidator(_rounded)]
Name = Annotated[str, StringConstraints(pattern=r"^[A-Za-z0-9][A-Za-z0-9._-]*$")]
"""Becomes a file name, so it may not leave its folder."""
Concept = Annotated[str, StringConstraints(pattern=r"^[a-z0-9-]+( of [a-z0-9-]+(\+[a-z0-9-]+)+)?$")]
"""As results are filed: `face-ada`, or `face-ada of face-ada+church` for a joint edit's share."""
Sha256 = Annotated[str, StringConstraints(pattern=r"^[0-9a-f]{64}$")]


class Part(BaseModel):
    """A block of a file: every key is known, nothing is converted, nothing is NaN."""

    model_config = ConfigDict(
        extra="forbid", frozen=True, strict=True, allow_inf_nan=False, protected_namespaces=()
    )


class Difference(Part):
    """Paired difference to the unerased model, with its 95 % interval."""

    value: Number
    low: Number | None
    high: Number | None


class SeedValue(Part):
    """One metric of one edit seed, as its cell holds it."""

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
        statistic: how rows become the value; null where it is no mean over images or prompts.
        baseline: the unerased model's value.
        note: what the metric says of the value, such as why there is none.
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
    seeds: tuple[SeedValue, ...] = Field(min_length=1)
    note: str


class SeedCost(Part):
    """What one edit cost."""

    seed: int
    value: Number


class Cost(Part):
    """One kind of cost: the mean over edit seeds, and the seeds."""

    metric: str
    value: Number
    seeds: tuple[SeedCost, ...] = Field(min_length=1)


class Costs(Part):
    """What the edits cost on these devices; another machine would give other numbers."""

    devices: tuple[str, ...]
    values: tuple[Cost, ...]


class Instrument(Part):
    """What looked at the images: a scorer, a comparer or the judge."""

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


class Provenance(Part):
    """What the values depend on. Everything but the runs is the same for all edit seeds.

    Attributes:
        concept_sha256: of the concept: words, training pairs, prompts, judge.
        concept_file: the text of a user's own concept file; null for a packaged concept.
        suite_sha256: of the suite's settings.
        prompts_sha256: of the prompts and image seeds that were drawn, group by group.
        method_version: null for the unerased model.
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
    resolved_config: dict[str, Any]
    versions: dict[str, tuple[str, ...]]
    plugins: dict[str, dict[str, str]]
    runs: tuple[Run, ...] = Field(min_length=1)


class Result(Part):
    """A results file.

    Attributes:
        config: first 8 hex digits of the hash of the resolved method settings.
        default: whether these are the model's own settings of the method.
        sha256: of the canonical JSON of all other fields.
    """

    schema_version: Literal[1]
    status: Literal["measured"]
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
    sha256: Sha256

    @property
    def place(self) -> Path:
        """Where the file belongs, relative to the leaderboard's folder."""
        name = self.method if self.default else f"{self.method}.{self.config}"
        return Path(self.model) / self.concept.replace(" ", "-") / f"{name}.json"

    def content_sha256(self) -> str:
        """The hash of everything but `sha256`."""
        return digest(self.model_dump(mode="json", exclude={"sha256"}))

    def sealed(self) -> Result:
        """The same result with the hash that its content has."""
        return self.model_copy(update={"sha256": self.content_sha256()})

    def text(self) -> str:
        """The file's content; the same result gives the same bytes."""
        return layout(self.model_dump(mode="json")) + "\n"


def read(path: Path) -> Result:
    """A results file. Its hash is not compared, for that is `check`'s business.

    Raises:
        ResultsError: it cannot be read or is no results file; says where and why.
    """
    return parse(Result, path)


def parse(kind: type[T], path: Path) -> T:
    """A JSON file as `kind`.

    Raises:
        ResultsError: it cannot be read or does not fit; says where and why.
    """
    try:
        data = path.read_bytes()
        return kind.model_validate_json(data)
    except OSError as error:
        raise ResultsError(f"{path}: {error.strerror}") from error
    except ValidationError as error:
        if (newer := _version(data)) > VERSION:
            raise ResultsError(
                f"{path}: written by a newer varbench (schema {newer}, here {VERSION}); upgrade"
            ) from error
        found = [f"{'.'.join(map(str, e['loc'])) or 'file'}: {e['msg']}" for e in error.errors()]
        more = f" (and {len(found) - 3} more)" if len(found) > 3 else ""
        raise ResultsError(f"{path}: {'; '.join(found[:3])}{more}") from error


def _version(data: bytes) -> int:
    """What a file says of itself; 0 where it says nothing."""
    try:
        found = json.loads(data)["schema_version"]
    except (ValueError, KeyError, TypeError, RecursionError):
        return 0
    return found if isinstance(found, int) else 0


def results_files(folder: Path) -> list[Path]:
    """All files of a leaderboard folder, sorted."""
    return sorted(folder.glob("*/*/*.json"))


def write(folder: Path, result: Result) -> Path:
    """Write a result where it belongs in the leaderboard's folder; returns the file.

    Raises:
        OSError: the folder cannot be written.
    """
    path = folder / result.place
    path.parent.mkdir(parents=True, exist_ok=True)
    write_whole(path, result.text())
    return path


def layout(value: Any) -> str:
    """JSON with a line for every block that fits into `WIDTH`: a diff shows what changed."""
    return "\n".join(_lines(value, ""))


def _lines(value: Any, indent: str) -> Iterator[str]:
    flat = json.dumps(value, ensure_ascii=False, allow_nan=False)
    if not value or not isinstance(value, dict | list) or len(indent) + len(flat) <= WIDTH:
        yield indent + flat
        return
    opening, closing = ("{", "}") if isinstance(value, dict) else ("[", "]")
    yield indent + opening
    names = list(value) if isinstance(value, dict) else [None] * len(value)
    parts = list(value.values()) if isinstance(value, dict) else value
    for i, (name, part) in enumerate(zip(names, parts, strict=True)):
        head = "" if name is None else f"{json.dumps(name, ensure_ascii=False)}: "
        lines = list(_lines(part, indent + " "))
        lines[0] = f"{indent} {head}{lines[0].lstrip(' ')}"
        lines[-1] += "," * (i < len(parts) - 1)
        yield from lines
    yield indent + closing
