"""Models by name: how to load each, and its fingerprint without loading it."""

from __future__ import annotations

import importlib
from typing import TYPE_CHECKING, Any

from varbench.errors import unknown

if TYPE_CHECKING:
    from varbench.models.base import NextScaleModel

LOADERS = {"gallery": "varbench.models.gallery.model"}
"""Name -> module with ``load(config, device)`` and ``fingerprint()``."""


def _module(name: str) -> Any:
    if name not in LOADERS:
        raise unknown("model", name, LOADERS)
    return importlib.import_module(LOADERS[name])


def load_model(config: Any, device: str) -> NextScaleModel:
    """Load a model by its config (``conf/model/NAME.yaml``) onto a device."""
    model: NextScaleModel = _module(config.name).load(config, device)
    return model


def fingerprint(name: str) -> str:
    """Hash of a model's weights files and architecture (16 hex digits), without loading it."""
    digest: str = _module(name).fingerprint()
    return digest


def reference(name: str) -> Any:
    """The module with ``reference_picture`` and ``VERSION`` of a model's world, or None.

    Only an embedded world can draw real pictures; others have statistics files instead.
    """
    if name != "gallery":
        return None
    return importlib.import_module("varbench.models.gallery.reference")
