"""Typed settings of a run: model, suite, method; ``compose.py`` fills them in."""

from __future__ import annotations

import dataclasses
from dataclasses import dataclass, field
from typing import Any

from varbench.data.concept import FAMILIES
from varbench.data.groups import GROUPS
from varbench.errors import check_choice, check_least, check_positive
from varbench.models.infinity.config import InfinityConfig
from varbench.models.protocol import Sampling
from varbench.models.switti.config import SwittiConfig

ENGINES = ("local", "ray")
SPLITS = ("test", "tune", "all")


@dataclass(frozen=True)
class ModelConfig:
    """A model by name.

    Attributes:
        name: how records call it.
        embedded: part of the package (a badge in reports), not a published model.
        sampling: inference settings, fixed for all methods.
        train: fine-tuning defaults at this model's size (keys of ``FineTuneConfig``).
        methods: settings of single methods at this model's size, by name.
        batch: images to generate at once at most, as memory allows.
        strict: sample one image at a time on one thread, so that neither batch size nor
            thread count can change a bit (slower).
    """

    name: str = "???"
    embedded: bool = False
    sampling: Sampling = field(default_factory=Sampling)
    train: dict[str, Any] = field(default_factory=dict)
    methods: dict[str, Any] = field(default_factory=dict)
    batch: int = 50
    strict: bool = False

    def __post_init__(self) -> None:
        check_least(1, batch=self.batch)


@dataclass(frozen=True, kw_only=True)
class InfinityModelConfig(InfinityConfig, ModelConfig):
    """A released Infinity by name; settings as in :class:`InfinityConfig`."""

    def __post_init__(self) -> None:
        ModelConfig.__post_init__(self)
        InfinityConfig.__post_init__(self)


@dataclass(frozen=True, kw_only=True)
class SwittiModelConfig(SwittiConfig, ModelConfig):
    """A released Switti by name; settings as in :class:`SwittiConfig`."""

    def __post_init__(self) -> None:
        ModelConfig.__post_init__(self)
        SwittiConfig.__post_init__(self)


@dataclass
class GroupConfig:
    """The part of a prompt group that a suite uses.

    Not frozen: OmegaConf locks frozen classes inside dictionaries against composition.

    Attributes:
        prompts: at most so many; 0 = all.
        seeds: images per prompt; 0 = the group is left out.
        set: a prompt set that stands in for what the concept names, the same for all concepts;
            empty for the concept's own.
        asks: of a group with a set of its own, whether its prompts ask for the concept; if not,
            those that show it are left out.
        families: of concepts that the group is for; none = all.
    """

    prompts: int = 50
    seeds: int = 4
    set: str = ""
    asks: bool = False
    families: list[str] = field(default_factory=list)

    def __post_init__(self) -> None:
        check_least(0, **{"prompts of a group": self.prompts, "seeds of a group": self.seeds})
        for family in self.families:
            check_choice("a family of a group", family, FAMILIES)

    def fits(self, family: str) -> bool:
        """True if images of the group are made for a concept of this family."""
        return self.seeds > 0 and (not self.families or family in self.families)


@dataclass(frozen=True)
class ProbeConfig:
    """Predictions to record besides images.

    Attributes:
        prompts: prompts of each kept group, the first of those that images are made of; 0 = none.
    """

    prompts: int = 0

    def __post_init__(self) -> None:
        check_least(0, **{"probe.prompts": self.prompts})


@dataclass(frozen=True)
class RobustnessConfig:
    """Effort to get the concept back (docs/metrics.md, Robustness).

    Attributes:
        prompts: target prompts, spread over those that images are made of; 0 = nothing is tried.
        seeds: image seeds of each, the first of those that images are made with.
        scales: how many first scales of the base model's image are given, one completion
            for each number; numbers that are not below the model's own number are left out.
        vectors: free vectors that the attack puts before a prompt; 0 = no attack.
        examples: training prompts of the concept that the attack is found on.
        steps: of its gradient ascent.
        batch: examples per step, which take turns.
    """

    prompts: int = 0
    seeds: int = 2
    scales: tuple[int, ...] = (1, 2, 3, 4)
    vectors: int = 4
    examples: int = 16
    steps: int = 30
    batch: int = 4

    def __post_init__(self) -> None:
        for name in ("prompts", "seeds", "vectors", "examples", "steps", "batch"):
            least = 0 if name in ("prompts", "vectors") else 1
            check_least(least, **{f"robustness.{name}": getattr(self, name)})
        if any(count < 1 for count in self.scales) or len(set(self.scales)) < len(self.scales):
            raise ValueError(f"robustness.scales are distinct numbers from 1 on, got {self.scales}")


@dataclass(frozen=True)
class SuiteConfig:
    """Prompt groups and metrics of a run, and images per batch of fixed shape.

    Attributes:
        split: ``test``, ``tune`` for the prompts that settings may be chosen on, or ``all``.
        groups: by name: ``target``, ``implicit``, ``neighbours`` and ``unrelated`` of the concept,
            and others that name a set of their own.
        metrics: ids; none = all that the concept's instruments allow.
    """

    name: str = "???"
    split: str = "test"
    metrics: tuple[str, ...] = ()
    groups: dict[str, GroupConfig] = field(default_factory=dict)
    probe: ProbeConfig = field(default_factory=ProbeConfig)
    robustness: RobustnessConfig = field(default_factory=RobustnessConfig)
    block: int = 50

    def __post_init__(self) -> None:
        check_choice("split", self.split, SPLITS)
        check_least(1, block=self.block)
        for name, size in self.groups.items():
            if name not in GROUPS and not size.set:
                raise ValueError(
                    f"group {name!r} is none of {', '.join(GROUPS)}: name its set, "
                    f"suite.groups.{name}.set=NAME"
                )


@dataclass(frozen=True)
class RunConfig:
    """One resolved configuration: a model, a suite, a method's settings.

    Attributes:
        pairs: training pairs used of each concept, the first ones; 0 = all.
    """

    model: ModelConfig = field(default_factory=ModelConfig)
    suite: SuiteConfig = field(default_factory=SuiteConfig)
    method: Any = None
    pairs: int = 0

    def __post_init__(self) -> None:
        check_least(0, pairs=self.pairs)


@dataclass(frozen=True)
class EngineConfig:
    """Settings of an engine: they decide how fast a run is, never what comes out.

    Attributes:
        name: `local` or `ray`.
        workers: processes that hold a model; 0 = as many as the cluster has room for.
        cpus: processors that Ray keeps for each.
        gpus: GPUs likewise; below 1, workers share one.
        address: of a running cluster; "" = the one in RAY_ADDRESS, else one is started here.
        timeout: seconds after which a shard counts as hung and its worker is replaced.
        attempts: times that a shard is tried.
    """

    name: str = "local"
    workers: int = 0
    cpus: float = 1.0
    gpus: float = 0.0
    address: str = ""
    timeout: float = 3600.0
    attempts: int = 3

    def __post_init__(self) -> None:
        check_least(0, workers=self.workers, gpus=self.gpus)
        check_positive(cpus=self.cpus, timeout=self.timeout, attempts=self.attempts)


@dataclass(frozen=True)
class NoConfig:
    """Settings of the base model: none."""


def plain(config: Any) -> Any:
    """A dataclass tree as plain JSON-able values."""
    if dataclasses.is_dataclass(config) and not isinstance(config, type):
        return {f.name: plain(getattr(config, f.name)) for f in dataclasses.fields(config)}
    if isinstance(config, dict):
        return {str(k): plain(v) for k, v in config.items()}
    if isinstance(config, (list, tuple)):
        return [plain(v) for v in config]
    return config
