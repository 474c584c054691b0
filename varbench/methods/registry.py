"""Methods by name. Importing this module imports no method, so listing them is instant."""

from __future__ import annotations

import importlib
from dataclasses import dataclass
from typing import TYPE_CHECKING

from varbench.errors import unknown

if TYPE_CHECKING:
    from varbench.methods.base import Method


@dataclass(frozen=True)
class MethodEntry:
    """Where a method lives and what it is, in one line."""

    module: str
    attribute: str
    summary: str


NONE = "none"
"""The unerased model; always runs along as the baseline."""

METHODS = {
    "svare": MethodEntry("varbench.methods.svare", "Svare", "S-VARE: filtered CE + preservation"),
    "vare": MethodEntry("varbench.methods.vare", "Vare", "VARE: match on auxiliary visual tokens"),
    "naive": MethodEntry("varbench_baselines.naive", "Naive", "fine-tuning, each side its history"),
}


def check_method(name: str) -> None:
    """Refuse unknown names before anything is imported.

    Raises:
        UserError: lists the methods and the nearest name.
    """
    if name != NONE and name not in METHODS:
        raise unknown("method", name, [*METHODS, NONE])


def load_method(name: str) -> Method:
    """The method object of a name.

    Raises:
        UserError: unknown name.
    """
    check_method(name)
    entry = METHODS[name]
    method: Method = getattr(importlib.import_module(entry.module), entry.attribute)()
    return method
