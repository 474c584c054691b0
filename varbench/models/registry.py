"""Models by name: how to load each, and its fingerprint without loading it."""

from __future__ import annotations

import importlib
from typing import TYPE_CHECKING, Any

from varbench.errors import unknown
from varbench.models.infinity.config import ReleasedConfig

if TYPE_CHECKING:
    from varbench.models.base import NextScaleModel

INFINITY = "varbench.models.infinity.released"
LOADERS = {
    "gallery": "varbench.models.gallery.model",
    "infinity-125m": INFINITY,
    "infinity-2b": INFINITY,
    "infinity-8b": INFINITY,
    "infinity-8b-512": INFINITY,
}
"""Name -> module with ``load(config, device)`` and ``fingerprint``."""


def _module(name: str) -> Any:
    if name not in LOADERS:
        raise unknown("model", name, LOADERS)
    return importlib.import_module(LOADERS[name])


def load_model(config: Any, device: str) -> NextScaleModel:
    """Load a model by its config (``conf/model/NAME.yaml``) onto a device."""
    model: NextScaleModel = _module(config.name).load(config, device)
    return model


def fingerprint(config: Any) -> str:
    """Hash of a model's weights files and architecture (16 hex digits), without loading it.

    Raises:
        CheckpointError: a released model's files are missing or damaged.
    """
    given = (config,) if isinstance(config, ReleasedConfig) else ()
    digest: str = _module(config.name).fingerprint(*given)
    return digest


def provenance(config: Any) -> dict[str, Any]:
    """Repositories, commits and SHA-256 of the files that a released model is loaded from.

    Empty for a model whose weights are in the package: its fingerprint and varbench's version
    say all.
    """
    module = _module(config.name)
    found: dict[str, Any] = module.provenance(config) if isinstance(config, ReleasedConfig) else {}
    return found


def reference(name: str) -> Any:
    """The module with ``reference_picture`` and ``VERSION`` of a model's world, or None.

    Only an embedded world can draw real pictures; others have statistics files instead.
    """
    if name != "gallery":
        return None
    return importlib.import_module("varbench.models.gallery.reference")
