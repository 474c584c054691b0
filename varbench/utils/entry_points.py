"""Entry points of other packages: what a plugin is, before anything is known of its kind."""

from __future__ import annotations

import importlib.util
import sys
from dataclasses import dataclass
from functools import cache
from importlib import metadata
from pathlib import Path
from typing import Any

from varbench.errors import UserError


class PluginError(UserError):
    """A plugin cannot be used; the message names it, its distribution and what is wrong."""


@dataclass(frozen=True)
class Plugin:
    """An entry point of another package.

    Attributes:
        group, name: of the entry point.
        target: ``module`` or ``module:attribute``.
        distribution, version: of the package that offers it.
    """

    group: str
    name: str
    target: str
    distribution: str
    version: str

    @property
    def origin(self) -> str:
        """Distribution and version, ``erasers 0.1``."""
        return f"{self.distribution} {self.version}"

    def fail(self, reason: str) -> PluginError:
        """The error that states the problem."""
        plugin = f"plugin {self.name!r} of {self.origin} ({self.group})"
        return PluginError(f"{plugin} cannot be used: {reason}")

    def load(self) -> Any:
        """Import the object that the entry point names.

        Raises:
            PluginError: with the import error.
        """
        loaded, error = _imported(self)
        if error is not None:
            raise self.fail(error)
        return loaded

    def folder(self) -> Path:
        """The folder of the package that the entry point names.

        Raises:
            PluginError: there is no such package.
        """
        try:
            spec = importlib.util.find_spec(self.target)
        except (Exception, SystemExit) as error:  # whatever importing the parent package does
            raise self.fail(_message(error)) from error
        if spec is None:
            raise self.fail(f"there is no package {self.target!r}")
        for folder in spec.submodule_search_locations or ():
            return Path(folder)
        raise self.fail(f"{self.target!r} is a module; name a package, a folder with files")


@cache
def _imported(plugin: Plugin) -> tuple[Any, str | None]:
    """The object or the import error; kept, so that a broken module is not tried again."""
    try:
        return metadata.EntryPoint(plugin.name, plugin.target, plugin.group).load(), None
    except (Exception, SystemExit) as error:  # a plugin's module may do anything
        return None, _message(error)


def _message(error: BaseException) -> str:
    return f"{type(error).__name__}: {error}"


def entry_points(group: str) -> tuple[Plugin, ...]:
    """All plugins of an entry-point group, by name; none is imported."""
    return _entry_points_on(group, tuple(sys.path))


@cache
def _entry_points_on(group: str, path: tuple[str, ...]) -> tuple[Plugin, ...]:
    """The entry points of the distributions on ``sys.path``, read once for each state of it."""
    plugins = []
    for entry in metadata.entry_points(group=group):
        assert entry.dist is not None
        plugins.append(Plugin(group, entry.name, entry.value, entry.dist.name, entry.dist.version))
    return tuple(sorted(plugins, key=lambda p: (p.name, p.distribution)))
