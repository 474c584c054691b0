"""Models by name: how to load each, and its fingerprint without loading it."""

from __future__ import annotations

import dataclasses
import importlib
from typing import TYPE_CHECKING, Any

from varbench.errors import UserError, unknown
from varbench.models.weights import locate
from varbench.models.weights.released import ReleasedConfig
from varbench.utils.plugins import ObjectKind

if TYPE_CHECKING:
    from varbench.models.protocol import NextScaleModel
    from varbench.models.weights.rewrite import WeightsFile

INFINITY = "varbench.models.infinity.released"
SWITTI = "varbench.models.switti.released"
LOADERS = {
    "gallery": "varbench.models.gallery.model",
    "infinity-125m": INFINITY,
    "infinity-2b": INFINITY,
    "infinity-8b": INFINITY,
    "infinity-8b-512": INFINITY,
    "switti": SWITTI,
    "switti-1024": SWITTI,
    "switti-1024-ar": SWITTI,
    "switti-ar": SWITTI,
}
"""Name -> module with ``load(config, device)``, and ``fingerprint()`` unless the model's config is
a :class:`ReleasedConfig`; ``weights_file(config)`` for exports."""


def _checked(name: str, offered: Any) -> Any:
    """The module of a plugin; ValueError says what is wrong with it."""
    config: Any = getattr(offered, "Config", None)
    if not _is_config(config):
        raise ValueError("a model has a dataclass Config, derived from ModelConfig")
    wanted = ["load"] if issubclass(config, ReleasedConfig) else ["load", "fingerprint"]
    if lacking := [one for one in wanted if not callable(getattr(offered, one, None))]:
        raise ValueError(f"a model has {', '.join(wanted)}; it lacks {', '.join(lacking)}")
    if (own := config().name) != name:
        raise ValueError(f"its Config's name is {own!r}; give Config and entry point one name")
    return offered


def _is_config(kind: Any) -> bool:
    return isinstance(kind, type) and dataclasses.is_dataclass(kind)


PLUGINS = ObjectKind("model", "varbench.models", lambda: LOADERS, _checked)


def _module(name: str) -> Any:
    if name in LOADERS:
        return importlib.import_module(LOADERS[name])
    if PLUGINS.knows(name):
        return PLUGINS.load(name)
    raise unknown("model", name, [*LOADERS, *PLUGINS.plugins()])


def load_model(config: Any, device: str) -> NextScaleModel:
    """Load a model by its config (``conf/model/NAME.yaml``) onto a device."""
    model: NextScaleModel = _module(config.name).load(config, device)
    return model


def fingerprint(config: Any) -> str:
    """Hash of a model's weights files and architecture (16 hex digits), without loading it.

    Raises:
        CheckpointError: a released model's files are missing or damaged.
    """
    if isinstance(config, ReleasedConfig):
        return locate.fingerprint(config)
    digest: str = _module(config.name).fingerprint()
    return digest


def weights_file(config: Any) -> WeightsFile:
    """The file that a model's trainable weights come from.

    Raises:
        UserError: files are missing, or a plugin's model does not tell.
    """
    module = _module(config.name)
    if not hasattr(module, "weights_file"):
        raise UserError(
            f"model {config.name!r} tells no weights file: its module lacks weights_file"
        )
    found: WeightsFile = module.weights_file(config)
    return found


def provenance(config: Any) -> dict[str, Any]:
    """Repositories, commits and SHA-256 of the files that a released model is loaded from.

    Empty for a model whose weights are in the package: its fingerprint and varbench's version
    say all.
    """
    return locate.provenance(config) if isinstance(config, ReleasedConfig) else {}


def reference(name: str) -> Any:
    """The module with ``reference_image`` and ``VERSION`` of a model's world, or None.

    Only an embedded world can draw real images; others have statistics files instead.
    """
    if name != "gallery":
        return None
    return importlib.import_module("varbench.models.gallery.reference")
