"""The plan of a run: its cells, their prompt groups and samples, before anything is computed."""

from __future__ import annotations

import shlex
from collections.abc import Hashable, Iterator, Sequence
from dataclasses import dataclass, field
from typing import Any, TypeVar, cast

from varbench.conf.compose import accepts, resolve
from varbench.conf.overrides import absolute
from varbench.conf.schema import EngineConfig, RunConfig, SuiteConfig, plain
from varbench.data.concept import JOIN, Concept, EraseTarget
from varbench.data.concept_files import load_concept
from varbench.data.groups import ASKING, GROUPS, GroupName
from varbench.data.prompt import MissingPromptSetError, Prompt
from varbench.data.prompt_sets import is_path, load_prompt_set
from varbench.data.selection import split_of, stratified_subset
from varbench.errors import UserError
from varbench.methods.registry import NONE, check_method, load_method, uses_seed
from varbench.metrics.groups import Key
from varbench.pipeline.compatibility import check_compatible, check_read
from varbench.store import digest

T = TypeVar("T")


@dataclass(frozen=True)
class Request:
    """A run as requested on the command line; `engine` selects where work runs, not its results.

    Paths among the overrides become absolute: workers and whoever repeats it are in other folders.
    """

    model: str
    methods: tuple[str, ...]
    concepts: tuple[str, ...]
    suite: str
    seeds: tuple[int, ...]
    overrides: tuple[str, ...] = ()
    device: str = "cpu"
    engine: EngineConfig = field(default_factory=EngineConfig)

    def __post_init__(self) -> None:
        object.__setattr__(self, "overrides", tuple(map(absolute, self.overrides)))


@dataclass(frozen=True)
class Sample:
    """One image to make: a prompt and a seed."""

    prompt: Prompt
    seed: int

    @property
    def key(self) -> Key:
        """Identity of the image in its group; it decides the image's random numbers."""
        return self.prompt.id, self.seed


@dataclass(frozen=True)
class Cell:
    """One model, method, concept, suite and edit seed: the unit of a leaderboard.

    Attributes:
        concept: what is tested.
        erased: what is erased: ``concept``, or several among which it is.
        name: name or file of the erased, as on the command line.
        shared: samples by group that cells of one plan share, once they are known.
    """

    config: RunConfig
    method: str
    concept: Concept
    erased: EraseTarget
    name: str
    seed: int
    overrides: tuple[str, ...]
    shared: dict[Hashable, dict[str, list[Sample]]] = field(
        default_factory=dict, compare=False, repr=False
    )

    @property
    def command(self) -> str:
        """The command that makes this cell, as a shell takes it."""
        options = {
            "--model": self.config.model.name,
            "--method": self.method,
            "--concept": self.name,
            "--suite": self.config.suite.name,
            "--seed": str(self.seed),
        }
        parts = [part for option in options.items() for part in option]
        return shlex.join(["varbench", "run", *parts, *self.overrides])

    @property
    def label(self) -> str:
        """The tested concept as results are filed, with what else is erased."""
        together = len(self.erased.concepts) > 1
        return f"{self.concept.name} of {self.erased.name}" if together else self.concept.name

    @property
    def steers(self) -> bool:
        """True if the method changes the sampling, not the weights."""
        from varbench.methods.base import SamplingMethod  # imports torch

        return self.method != NONE and isinstance(load_method(self.method), SamplingMethod)

    def config_hash(self) -> str:
        """First 8 hex digits of the hash of the resolved method config."""
        settings = plain(self.config.method)
        if self.config.pairs:
            settings = {"method": settings, "pairs": self.config.pairs}
        return digest(settings)[:8]

    def groups(self) -> dict[str, list[Sample]]:
        """Samples of each prompt group, all seeds of a prompt side by side."""
        erased = tuple(concept.digest() for concept in self.erased.concepts)
        key = self.concept.digest(), erased, repr(self.config.suite)
        if key not in self.shared:
            self.shared[key] = self._samples()
        return {name: list(samples) for name, samples in self.shared[key].items()}

    def _samples(self) -> dict[str, list[Sample]]:
        chosen: dict[str, list[Sample]] = {}
        suite = self.config.suite
        order = [name for name in GROUPS if name in suite.groups]
        for name in dict.fromkeys([*order, *suite.groups]):
            size = suite.groups[name]
            if not size.fits(self.concept.family):
                continue
            group: Sequence[Prompt]
            if size.set:
                group = load_prompt_set(size.set).prompts
            else:
                group = self.concept.group(cast(GroupName, name))
            if suite.split != "all":
                group = [p for p in group if split_of(p.id) == suite.split]
            if name not in ASKING and not size.asks:
                group = [p for p in group if not self.erased.depicts(p)]
            prompts = stratified_subset(group, size.prompts or None, self.concept.judge.head)
            if prompts:
                chosen[name] = [Sample(p, s) for p in prompts for s in range(size.seeds)]
        return chosen


def batches(items: Sequence[T], size: int) -> Iterator[list[T]]:
    """Samples or their files in batches; the last may be shorter (sampling fills it up)."""
    for start in range(0, len(items), size):
        yield list(items[start : start + size])


def _method_overrides(method: str, overrides: Sequence[str]) -> tuple[str, ...]:
    """The overrides that apply to a method: ``method.KEY=`` only where it has KEY."""
    if method == NONE:
        return tuple(o for o in overrides if not o.startswith(("method.", "pairs=")))
    config: type[Any] = load_method(method).Config
    return tuple(
        o
        for o in overrides
        if not o.startswith("method.") or accepts(config, o[7:].partition("=")[0])
    )


def plan(request: Request) -> list[Cell]:
    """All cells of a request, the base model's first, concept by concept.

    Raises:
        UserError: unknown names, keys or values; nothing has been computed yet.
    """
    methods = list(dict.fromkeys([NONE, *request.methods]))
    for method in methods:
        check_method(method)
    accepted = {m: _method_overrides(m, request.overrides) for m in methods}
    for override in request.overrides:
        if not any(override in overrides for overrides in accepted.values()):
            # Compose with it anyway: the error then names the keys that exist.
            resolve(request.model, request.suite, request.methods[0], request.overrides)
            raise UserError(f"no method of this run has {override.partition('=')[0]!r}")
    configs = {m: resolve(request.model, request.suite, m, accepted[m]) for m in methods}
    by_name = {name: _load(name) for name in request.concepts}
    everything = [concept for concepts in by_name.values() for concept in concepts]
    check_compatible(configs[NONE].model, configs[NONE].suite, everything)
    _check_sets(configs[NONE].suite, everything)
    cells: list[Cell] = []
    shared: dict[Hashable, dict[str, list[Sample]]] = {}
    for name, concepts in by_name.items():
        for concept in concepts:
            for method in methods:
                erased = EraseTarget(concepts, configs[method].pairs)
                seeds = request.seeds if uses_seed(method) else (0,)
                cells += [
                    Cell(
                        configs[method], method, concept, erased, name, seed, accepted[method],
                        shared,
                    )
                    for seed in seeds
                ]  # fmt: skip
    for tested, groups in prompts_of(cells).items():
        check_read(configs[NONE].model, groups, tested)
    return cells


def prompts_of(cells: Sequence[Cell]) -> dict[str, dict[str, list[Prompt]]]:
    """By concept, the distinct prompts of each group of its cells."""
    return {
        cell.concept.name: {
            group: list({sample.prompt.id: sample.prompt for sample in samples}.values())
            for group, samples in cell.groups().items()
        }
        for cell in cells
        if cell.method == NONE
    }


def base_cell(cells: Sequence[Cell], cell: Cell) -> Cell:
    """The base model's cell among the cells of a plan, for what `cell` tests."""
    same = (c for c in cells if c.concept is cell.concept and c.name == cell.name)
    return next(c for c in same if c.method == NONE)


def _check_sets(suite: SuiteConfig, concepts: Sequence[Concept]) -> None:
    """Refuse groups whose published prompt sets are not in the data folder.

    Raises:
        UserError: names all that are missing, and how to fetch them or do without.
    """
    missing: dict[str, str] = {}
    for group, size in suite.groups.items():
        if size.set and any(size.fits(concept.family) for concept in concepts):
            try:
                load_prompt_set(size.set)
            except MissingPromptSetError:
                missing[size.set] = group
    if missing:
        without = " ".join(f"suite.groups.{group}.seeds=0" for group in missing.values())
        raise UserError(
            f"suite {suite.name!r} tests on published prompt sets that are not here; run "
            f"`varbench fetch {' '.join(missing)}`, or leave them out: {without}"
        )


def _load(target: str) -> tuple[Concept, ...]:
    """A concept by name or file, or several by name with a plus between them."""
    names = [target] if is_path(target, ".yaml", ".yml") else target.split(JOIN)
    if len(set(names)) < len(names):
        raise UserError(f"{target!r} names a concept twice")
    return tuple(load_concept(name) for name in names)
