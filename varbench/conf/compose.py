"""Composition of settings by Hydra: packaged YAML files, defaults of dataclasses, overrides.

Groups: ``model`` and ``suite`` are YAML files beside this module; ``method`` nodes come from the
methods' own ``Config`` dataclasses, so a method's settings have one home. A model's ``train`` and
``methods`` sections fit these defaults to the model's size; the user's overrides come last.
"""

from __future__ import annotations

import json
from collections.abc import Iterator, Sequence
from functools import cache
from typing import Any

from hydra import compose, initialize_config_module
from hydra.core.config_store import ConfigStore
from hydra.core.global_hydra import GlobalHydra
from hydra.errors import HydraException
from omegaconf import OmegaConf
from omegaconf.errors import OmegaConfBaseException

from varbench.conf.overrides import explain, quoted, reason, types_of
from varbench.conf.schema import (
    ENGINES,
    EngineConfig,
    InfinityModelConfig,
    ModelConfig,
    NoConfig,
    RunConfig,
    SuiteConfig,
    SwittiModelConfig,
)
from varbench.errors import UserError, unknown
from varbench.methods.registry import NONE, check_method, load_method
from varbench.models.registry import PLUGINS
from varbench.utils.files import packaged

_ERRORS = (HydraException, OmegaConfBaseException, ValueError, TypeError, AttributeError)


def names(group: str) -> list[str]:
    """Configs of a YAML group."""
    return sorted(path.stem for path in (packaged("conf") / group).glob("*.yaml"))


def resolve(model: str, suite: str, method: str, overrides: Sequence[str] = ()) -> RunConfig:
    """Compose one run's configuration.

    Args:
        model, suite, method: names.
        overrides: ``KEY=VALUE``, the key ``pairs`` or under ``model.``, ``suite.``, ``method.``.

    Raises:
        UserError: unknown names or keys, wrong types or values.
    """
    if model not in names("model") and not PLUGINS.knows(model):
        raise unknown("model", model, [*names("model"), *PLUGINS.plugins()])
    if suite not in names("suite"):
        raise unknown("suite", suite, names("suite"))
    check_method(method)
    plugin: Any = PLUGINS.load(model).Config if model in PLUGINS.plugins() else None
    if plugin is not None and not issubclass(plugin, ModelConfig):
        raise UserError(f"the Config of plugin model {model!r} must derive from ModelConfig")
    settings: Any = NoConfig if method == NONE else load_method(method).Config
    return _resolve(model, plugin, suite, method, settings, tuple(overrides))


@cache  # composing takes 0.1 s, and the variants of an ablation share most of theirs
def _resolve(
    model: str,
    plugin: Any,
    suite: str,
    method: str,
    settings: type[Any],
    overrides: tuple[str, ...],
) -> RunConfig:
    groups = [f"model={model}", f"suite={suite}", f"method={method}"]
    sized: list[str] = []
    if method != NONE:
        of_model = tuple(o for o in overrides if o.lstrip("+~").startswith("model."))
        sizes = _resolve(model, plugin, suite, NONE, NoConfig, of_model).model
        if accepts(settings, "train"):
            sized += _assignments({"train": sizes.train}, "method.")
        sized += _assignments(sizes.methods.get(method, {}), "method.")
    _register(method, settings, group="method")
    if plugin is not None:
        _register(model, plugin, group="model")
    try:
        types = _types(SwittiModelConfig, settings) | _types(
            plugin or InfinityModelConfig, settings
        )
        changes = [quoted(override, types) for override in overrides]
        config = OmegaConf.to_object(_compose("config", [*groups, *sized, *changes]))
    except _ERRORS as error:
        model_type = OmegaConf.get_type(_compose("config", groups).model) or ModelConfig
        raise UserError(explain(error, overrides, _types(model_type, settings))) from error
    assert isinstance(config, RunConfig)
    return config


def _types(model: type[Any], method: type[Any]) -> dict[str, Any]:
    types = {"pairs": int} | types_of(model, "model.")
    return types | types_of(SuiteConfig, "suite.") | types_of(method, "method.")


def model_config(name: str) -> ModelConfig:
    """A model's config as it stands in its file.

    Raises:
        UserError: unknown name.
    """
    return resolve(name, names("suite")[0], NONE).model


def split_engine(overrides: Sequence[str]) -> tuple[EngineConfig, tuple[str, ...]]:
    """The engine's settings, and the overrides that are of the run.

    Raises:
        UserError: an unknown engine, or a setting that it does not have.
    """
    of_engine = [o for o in overrides if o.partition("=")[0].partition(".")[0] == "engine"]
    rest = tuple(o for o in overrides if o not in of_engine)
    settings = [
        o.replace("engine=", "name=", 1) if o.startswith("engine=") else o.removeprefix("engine.")
        for o in of_engine
    ]
    try:
        texts = [quoted(setting, types_of(EngineConfig)) for setting in settings]
        config = OmegaConf.to_object(_compose("engine", texts))
    except _ERRORS as error:
        known = ", ".join(types_of(EngineConfig, "engine."))
        message = f"{' '.join(of_engine)}: {reason(error)}; there are {known}"
        raise UserError(message) from error
    assert isinstance(config, EngineConfig)
    if config.name not in ENGINES:
        raise unknown("engine", config.name, ENGINES)
    return config, rest


def _compose(name: str, overrides: Sequence[str]) -> Any:
    for override in overrides:
        if "${" in override:  # of the environment of whoever repeats the command, or anything else
            raise UserError(f"{override}: ${{...}} is not filled in; write the value itself")
    GlobalHydra.instance().clear()  # whoever calls this may have left Hydra initialised
    with initialize_config_module("varbench.conf", version_base="1.3"):
        return compose(name, overrides=list(overrides))


def _register(name: str, config: type[Any], group: str | None = None) -> None:
    """Make a dataclass known to Hydra, writable: OmegaConf locks the nodes of frozen classes."""
    node = OmegaConf.structured(config)

    def unlock(part: Any) -> None:
        OmegaConf.set_readonly(part, None)
        if part._is_none() or part._is_missing():
            return
        for key in range(len(part)) if OmegaConf.is_list(part) else part:
            value = part._get_node(key)
            if OmegaConf.is_config(value):
                unlock(value)

    unlock(node)
    ConfigStore.instance().store(name, node, group=group)


for _name, _schema in {  # the YAML files name these as their first defaults
    "schema": RunConfig,
    "schema_model": ModelConfig,
    "schema_infinity": InfinityModelConfig,
    "schema_switti": SwittiModelConfig,
    "schema_suite": SuiteConfig,
    "engine": EngineConfig,
}.items():
    _register(_name, _schema)


def accepts(config: type[Any], key: str) -> bool:
    """True if a method's Config has a dotted key (``train.steps``) or a section (``train``)."""
    return any(known == key or known.startswith(f"{key}.") for known in types_of(config))


def _assignments(settings: dict[str, Any], prefix: str) -> Iterator[str]:
    """Nested settings as Hydra's ``KEY=VALUE``."""
    for key, value in settings.items():
        if isinstance(value, dict):
            yield from _assignments(value, f"{prefix}{key}.")
        else:
            yield f"{prefix}{key}={json.dumps(value)}"
