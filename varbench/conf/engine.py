"""What engine a run uses: ``engine=ray engine.workers=4`` among a command's overrides."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

from omegaconf import OmegaConf
from omegaconf.errors import OmegaConfBaseException

from varbench.errors import UserError, unknown

LOCAL, RAY = "local", "ray"
ENGINES = (LOCAL, RAY)


@dataclass(frozen=True)
class EngineConfig:
    """Settings of an engine. They decide how fast a run is, never what comes out.

    Attributes:
        name: one of `ENGINES`.
        workers: processes that hold a model; 0 = as many as the cluster has room for.
        cpus: processors that Ray keeps for each.
        gpus: GPUs likewise; below 1, workers share one.
        address: of a running cluster; "" = the one in RAY_ADDRESS, else one is started here.
        timeout: seconds after which a shard counts as hung and its worker is replaced.
        attempts: times that a shard is tried.
    """

    name: str = LOCAL
    workers: int = 0
    cpus: float = 1.0
    gpus: float = 0.0
    address: str = ""
    timeout: float = 3600.0
    attempts: int = 3


def split(overrides: Sequence[str]) -> tuple[EngineConfig, tuple[str, ...]]:
    """The engine's settings, and the overrides that are not its.

    Raises:
        UserError: an unknown engine, or a setting that it does not have.
    """
    own = [o for o in overrides if o.partition("=")[0].partition(".")[0] == "engine"]
    rest = tuple(o for o in overrides if o not in own)
    lines = [o.replace("engine=", "name=", 1) if o.startswith("engine=") else o[7:] for o in own]
    try:
        merged = OmegaConf.merge(OmegaConf.structured(EngineConfig), OmegaConf.from_dotlist(lines))
        found = OmegaConf.to_object(merged)
    except OmegaConfBaseException as error:
        known = ", ".join(f"engine.{name}" for name in EngineConfig.__dataclass_fields__)
        what = f"{' '.join(own)}: {str(error).splitlines()[0]}"
        raise UserError(f"{what}; there are {known}") from error
    assert isinstance(found, EngineConfig)
    if found.name not in ENGINES:
        raise unknown("engine", found.name, ENGINES)
    if found.workers < 0 or min(found.cpus, found.timeout) <= 0 or found.attempts < 1:
        raise UserError(
            "engine.workers must not be negative, engine.cpus, engine.timeout and engine.attempts "
            "must be positive"
        )
    return found, rest
