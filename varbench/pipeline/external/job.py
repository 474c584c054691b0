"""Images made elsewhere, as cells: who made them, which prompt groups they test, what is asked.

Nothing is scored here, and torch is not imported: whatever is wrong with the lists is told first.
"""

from __future__ import annotations

import csv
import dataclasses
import re
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path

from varbench.conf.schema import ModelConfig, RunConfig, SuiteConfig, names, resolve
from varbench.data.concept import Concept, load_concept
from varbench.data.erase_target import EraseTarget
from varbench.errors import UserError, suggest
from varbench.methods.registry import NONE
from varbench.metrics import METRICS
from varbench.metrics.base import OF_MODEL
from varbench.models import registry
from varbench.pipeline.external.groups import GroupAssigner, matched
from varbench.pipeline.external.images import ImageFile, check_sizes, look
from varbench.pipeline.external.manifest import GROUP, MANIFEST, REQUIRED, read_list
from varbench.pipeline.plan import Cell, Sample

DEFAULT = "elsewhere"  # name of a model, and of a suite, that nobody has named
_NAME = re.compile(r"[A-Za-z0-9][A-Za-z0-9._-]{0,63}")


@dataclass(frozen=True)
class ScoreRequest:
    """Images to score, as the command line names them.

    Attributes:
        folder: with the images.
        concept: name or YAML file.
        method, model: how results call what made them; method `none` is the unerased model.
        against: folder with the unerased model's images; None for that model itself.
        suite: whose images, exactly, these are; None for whatever is there.
        seed: of the edit.
        manifest, against_manifest: lists that are not in the folders.
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
        """The command that scores them."""
        given = {
            "concept": self.concept, "method": self.method, "model-name": self.model,
            "against": self.against, "suite": self.suite, "seed": self.seed or None,
            "manifest": self.manifest, "against-manifest": self.against_manifest,
        }  # fmt: skip
        options = [f"--{name} {value}" for name, value in given.items() if value is not None]
        return " ".join(["varbench score", str(self.folder), *options])


@dataclass(frozen=True)
class ImageSet:
    """The images of one model.

    Attributes:
        cell: under which name they are recorded.
        rows, files: of each group; file i shows row i.
        sha256: of their list.
        unused: images of the list that are not compared with any.
    """

    cell: Cell
    rows: Mapping[str, list[Sample]]
    files: Mapping[str, list[ImageFile]]
    sha256: str
    unused: int = 0


@dataclass(frozen=True)
class ScoreJob:
    """What an offer comes to.

    Attributes:
        offer: what was asked.
        base: the unerased model's images.
        own: the method's, of the same rows; None if only the unerased model's are scored.
        inferred: images whose group the list does not say.
    """

    offer: ScoreRequest
    base: ImageSet
    own: ImageSet | None
    inferred: int

    def summary(self) -> str:
        """Images and prompts of each group, and how the groups are known."""
        parts = [
            f"{group}: {len(rows)} images of {len({row.prompt.id for row in rows})} prompts"
            for group, rows in self.base.rows.items()
        ]
        if self.inferred:
            parts.append(
                f"the group of {self.inferred} images follows from their prompts: those of the "
                "concept's sets as there, of others target if they show the concept, else unrelated"
            )
        if self.base.unused and self.own is not None:
            parts.append(f"{self.base.unused} images of {self.offer.against} are not compared")
        return "\n".join(parts)


def plan_offer(offer: ScoreRequest) -> ScoreJob:
    """Read the lists and look at the files' headers.

    Raises:
        UserError: names, lists or files are not as they should be; nothing has been scored.
    """
    _check_names(offer)
    concept = load_concept(offer.concept)
    suite = _suite(offer.suite)
    empty = _cell(offer, concept, suite, NONE)
    own_list = read_list(offer.folder, offer.manifest)
    wanted = empty.groups() if offer.suite else None
    sorted_in = GroupAssigner(concept, suite).groups(own_list.lines, wanted)
    rows = {group: some for group, (some, _) in sorted_in.items()}
    lines = {group: some for group, (_, some) in sorted_in.items()}
    inferred = sum(not line.group for line in own_list.lines)
    if offer.against is None:
        album = ImageSet(empty, rows, look(offer.folder, lines), own_list.sha256)
        return ScoreJob(offer, album, None, inferred)
    base_list = read_list(offer.against, offer.against_manifest)
    counterparts = matched(rows, base_list.lines, offer.against)
    files, base_files = look(offer.folder, lines), look(offer.against, counterparts)
    check_sizes(files, base_files)
    used = {line.where for some in counterparts.values() for line in some}
    unused = len(base_list.lines) - len(used)
    cell = _cell(offer, concept, suite, offer.method)
    return ScoreJob(
        offer,
        ImageSet(empty, rows, base_files, base_list.sha256, unused),
        ImageSet(cell, rows, files, own_list.sha256),
        inferred,
    )


def write_wanted(offer: ScoreRequest) -> Path:
    """Write the list of the images that a suite asks for, for another program to make.

    Raises:
        UserError: the folder has a list already, or no suite is named.
    """
    if offer.suite is None:
        raise UserError("--wanted needs --suite: it decides which prompts and image seeds")
    path = offer.manifest or offer.folder / MANIFEST
    cell = _cell(offer, load_concept(offer.concept), _suite(offer.suite), NONE)
    try:
        path.parent.mkdir(parents=True, exist_ok=True)
        with path.open("x", encoding="utf-8", newline="") as file:
            writer = csv.writer(file)
            writer.writerow([*REQUIRED, GROUP])
            for group, rows in cell.groups().items():
                numbers = {id: i for i, id in enumerate(dict.fromkeys(r.prompt.id for r in rows))}
                for row in rows:
                    name = f"{group}/{numbers[row.prompt.id]:05d}-{row.seed}.png"
                    writer.writerow([name, row.prompt.text, row.seed, group])
    except OSError as error:
        raise UserError(f"{path} cannot be written ({error}); name another folder") from error
    return path


def _check_names(offer: ScoreRequest) -> None:
    for option, name in (("--method", offer.method), ("--model-name", offer.model)):
        if not _NAME.fullmatch(name):
            raise UserError(
                f"{option} {name!r} cannot be a name; use letters, digits, dots, underscores and "
                "hyphens"
            )
    if offer.model in registry.LOADERS or registry.PLUGINS.knows(offer.model):
        raise UserError(
            f"--model-name {offer.model!r} is a model that varbench itself runs, and its results "
            f"must not be mixed with these; use another name, such as {offer.model}-{DEFAULT}"
        )
    if offer.method == NONE and offer.against is not None:
        raise UserError("--method none is the unerased model itself; drop --against")
    if offer.method != NONE and offer.against is None:
        raise UserError(
            "a method is judged against the unerased model on the same prompts and seeds: give "
            "its images with --against DIR, or say --method none if these are they"
        )
    if offer.seed < 0:
        raise UserError(f"--seed must not be negative, got {offer.seed}")


def _suite(name: str | None) -> SuiteConfig:
    """A suite's settings, with the metrics that images alone allow."""
    suite = SuiteConfig(name=DEFAULT)
    if name is not None:
        suite = resolve(names("model")[0], name, NONE).suite
    for one in suite.metrics:
        if one not in METRICS:
            raise UserError(f"unknown metric {one!r}: {suggest(one, METRICS)}")
    asked = suite.metrics or tuple(METRICS)
    allowed = tuple(one for one in asked if OF_MODEL.isdisjoint(METRICS[one].info.needs))
    if not allowed:
        raise UserError(
            f"suite {suite.name!r} asks only for what needs the model itself; drop --suite"
        )
    return dataclasses.replace(suite, metrics=allowed)


def _cell(offer: ScoreRequest, concept: Concept, suite: SuiteConfig, method: str) -> Cell:
    config = RunConfig(model=ModelConfig(name=offer.model), suite=suite)
    seed = 0 if method == NONE else offer.seed
    return Cell(config, method, concept, EraseTarget((concept,)), offer.concept, seed, ())
