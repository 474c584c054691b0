"""Settings of the engine: ``engine=ray engine.workers=4`` among a command's overrides."""

from __future__ import annotations

from dataclasses import dataclass

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

    def __post_init__(self) -> None:
        if self.workers < 0 or min(self.cpus, self.timeout) <= 0 or self.attempts < 1:
            raise ValueError(
                "engine.workers must not be negative, engine.cpus, engine.timeout and "
                "engine.attempts must be positive"
            )
