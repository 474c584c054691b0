"""Planning of `varbench score`: external images as cells, with their prompt groups.

Nothing is scored here and torch is not imported, so faults in the manifests are reported first.
"""

from __future__ import annotations

import csv
import dataclasses
import re
import shlex
from dataclasses import dataclass
from itertools import chain
from pathlib import Path

from varbench.conf.compose import names, resolve
from varbench.conf.schema import ModelConfig, RunConfig, SuiteConfig
from varbench.data.concept import Concept, EraseTarget
from varbench.data.concept_files import load_concept
from varbench.errors import UserError
from varbench.methods.registry import NONE
from varbench.metrics import METRICS
from varbench.metrics.base import OF_MODEL
from varbench.models import registry
from varbench.pipeline.external.groups import assign_groups, check_labels, match_base
from varbench.pipeline.external.images import Images, check_sizes, inspect_files
from varbench.pipeline.external.manifest import MANIFEST_FILE, REQUIRED, read_manifest
from varbench.pipeline.launch import check_metrics
from varbench.pipeline.plan import Cell
from varbench.utils.seeds import check_seed

DEFAULT = "elsewhere"  # the name of a model or a suite that was not given


@dataclass(frozen=True)
class ScoreRequest:
    """Images to score, as named on the command line.

    Attributes:
        folder: with the images.
        concept: name or YAML file.
        method, model: names of their makers in the results; method `none` is the base model.
        against: folder with the base model's images; None if these are the base model's.
        suite: the suite whose samples these are, exactly; None accepts whatever there is.
        seed: of the edit.
        manifest, against_manifest: manifests outside the folders.
    """

    folder: Path
    concept: str
    method: str
    model: str = DEFAULT
    against: Path | None = None
    suite: str | None = None
    seed: int = 0
    manifest: Path | None = None
    against_manifest: Path | None = None

    @property
    def command(self) -> str:
        """The command that scores them, as a shell takes it."""
        given = {
            "concept": self.concept, "method": self.method, "model-name": self.model,
            "against": self.against, "suite": self.suite, "seed": self.seed or None,
            "manifest": self.manifest, "against-manifest": self.against_manifest,
        }  # fmt: skip
        options = [[f"--{name}", str(v)] for name, v in given.items() if v is not None]
        return shlex.join(["varbench", "score", str(self.folder), *chain.from_iterable(options)])


@dataclass(frozen=True)
class ImageSet:
    """The images of one model, their cell, and the SHA-256 of their manifest.

    `unused` is the number of images in the manifest that are compared with none.
    """

    cell: Cell
    images: Images
    sha256: str
    unused: int = 0


@dataclass(frozen=True)
class ScoreJob:
    """A checked request.

    Attributes:
        request: as given.
        base: the base model's images.
        method: the method's, of the same samples; None if only the base model's are scored.
        inferred: number of images whose group the manifest does not name.
    """

    request: ScoreRequest
    base: ImageSet
    method: ImageSet | None
    inferred: int

    def summary(self) -> str:
        """Images and prompts of each group, and how the groups were found."""
        parts = [
            f"{group}: {len(some)} images of {len({s.prompt.id for s, _ in some})} prompts"
            for group, some in self.base.images.items()
        ]
        if self.inferred:
            parts.append(
                f"the group of {self.inferred} images follows from their prompts: prompts of the "
                "concept's sets keep their group; others go to target if they show the concept, "
                "else to unrelated"
            )
        if self.base.unused and self.method is not None:
            parts.append(f"{self.base.unused} images of {self.request.against} are not compared")
        return "\n".join(parts)


def plan_scoring(request: ScoreRequest) -> ScoreJob:
    """Read the manifests and the headers of the files.

    Raises:
        UserError: names, manifests or files are wrong; nothing has been scored.
    """
    _check_names(request)
    concept, suite = load_concept(request.concept), _suite(request.suite)
    base_cell = _cell(request, concept, suite, NONE)
    rows, sha256 = read_manifest(request.folder, request.manifest)
    check_labels(rows)
    required = base_cell.groups() if request.suite else None
    assigned = assign_groups(concept, suite, rows, required)
    images = inspect_files(request.folder, assigned)
    inferred = sum(not row.group for row in rows)
    if request.against is None:
        return ScoreJob(request, ImageSet(base_cell, images, sha256), None, inferred)
    base_rows, base_sha256 = read_manifest(request.against, request.against_manifest)
    check_labels([*rows, *base_rows])
    matched = match_base(assigned, base_rows, request.against)
    base_images = inspect_files(request.against, matched)
    check_sizes(images, base_images)
    unused = len(base_rows) - len({row.location for some in matched.values() for _, row in some})
    cell = _cell(request, concept, suite, request.method)
    base = ImageSet(base_cell, base_images, base_sha256, unused)
    return ScoreJob(request, base, ImageSet(cell, images, sha256), inferred)


def write_manifest(request: ScoreRequest) -> Path:
    """Write the manifest of a suite's samples, for another program to make their images.

    Raises:
        UserError: the folder has a manifest already, or no suite is named.
    """
    if request.suite is None:
        raise UserError("--wanted needs --suite: it decides which prompts and seeds")
    path = request.manifest or request.folder / MANIFEST_FILE
    cell = _cell(request, load_concept(request.concept), _suite(request.suite), NONE)
    try:
        path.parent.mkdir(parents=True, exist_ok=True)
        with path.open("x", encoding="utf-8", newline="") as file:
            writer = csv.writer(file)
            writer.writerow([*REQUIRED, "group"])
            for group, samples in cell.groups().items():
                ids = dict.fromkeys(sample.prompt.id for sample in samples)
                numbers = {id: number for number, id in enumerate(ids)}
                for prompt, seed in ((sample.prompt, sample.seed) for sample in samples):
                    name = f"{group}/{numbers[prompt.id]:05d}-{seed}.png"
                    writer.writerow([name, prompt.text, seed, group])
    except OSError as error:
        raise UserError(f"{path} cannot be written ({error}); name another folder") from error
    return path


def _check_names(request: ScoreRequest) -> None:
    for option, name in (("--method", request.method), ("--model-name", request.model)):
        if not re.fullmatch(r"[A-Za-z0-9][A-Za-z0-9._-]{0,63}", name):
            raise UserError(
                f"{option} {name!r} cannot be a name; use letters, digits, dots, underscores and "
                "hyphens"
            )
    if request.model in registry.MODELS or registry.PLUGINS.knows(request.model):
        raise UserError(
            f"--model-name {request.model!r} is a model that varbench itself runs, and its results "
            f"must not be mixed with these; use another name, such as {request.model}-{DEFAULT}"
        )
    if request.method == NONE and request.against is not None:
        raise UserError("--method none is the base model itself; drop --against")
    if request.method != NONE and request.against is None:
        raise UserError(
            "a method is judged against the base model on the same prompts and seeds: "
            "give its images with --against DIR, or say --method none if these are the base model's"
        )
    check_seed(request.seed)


def _suite(name: str | None) -> SuiteConfig:
    """A suite's settings, with the metrics that need images alone."""
    suite = SuiteConfig(name=DEFAULT)
    if name is not None:
        suite = resolve(names("model")[0], name, NONE).suite
    check_metrics(suite.metrics)
    ids = suite.metrics or tuple(METRICS)
    allowed = tuple(id for id in ids if OF_MODEL.isdisjoint(METRICS[id].info.needs))
    if not allowed:
        raise UserError(f"suite {suite.name!r} has only metrics of the model; drop --suite")
    return dataclasses.replace(suite, metrics=allowed)


def _cell(request: ScoreRequest, concept: Concept, suite: SuiteConfig, method: str) -> Cell:
    config = RunConfig(model=ModelConfig(name=request.model), suite=suite)
    seed = 0 if method == NONE else request.seed
    return Cell(config, method, concept, EraseTarget((concept,)), request.concept, seed, ())
