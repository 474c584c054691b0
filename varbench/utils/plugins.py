"""Plugins: methods, metrics, models, concepts and prompt sets of other packages.

A package offers them as entry points in its ``pyproject.toml``::

    [project.entry-points."varbench.methods"]
    unfiltered = "erasers.unfiltered:Unfiltered"

    [project.entry-points."varbench.concepts"]
    erasers = "erasers.concepts"

Of ``varbench.methods``, ``varbench.metrics`` and ``varbench.models`` every entry point is one
thing, known by the entry point's name (:class:`ObjectKind`); of ``varbench.concepts`` and
``varbench.prompts`` it is a package, whose files are known by their own names (:class:`FileKind`).

Finding plugins imports none. One that cannot be imported, is not what its group promises, or has
a name that is taken (built-in names stay built-in) is left out: its kind tells of it in
``problems``, and whoever asks for it by name gets a :class:`PluginError`.
"""

from __future__ import annotations

import importlib.util
import sys
from collections.abc import Callable, Collection, Iterable, Mapping
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

    @property
    def label(self) -> str:
        """How messages call it."""
        return f"plugin {self.name!r} of {self.origin} ({self.group})"

    def fail(self, reason: str) -> PluginError:
        """The error that says what is wrong with it."""
        return PluginError(f"{self.label} cannot be used: {reason}")

    def load(self) -> Any:
        """Import what the entry point names.

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
        except Exception as error:  # whatever importing the parent package does
            raise self.fail(_told(error)) from error
        if spec is None:
            raise self.fail(f"there is no package {self.target!r}")
        for place in spec.submodule_search_locations or ():
            return Path(place)
        raise self.fail(f"{self.target!r} is a module; name a package, a folder with files")


@cache
def _imported(plugin: Plugin) -> tuple[Any, str | None]:
    """The object or the import error; kept, so that a broken module is not tried again."""
    try:
        return metadata.EntryPoint(plugin.name, plugin.target, plugin.group).load(), None
    except Exception as error:  # a stranger's module may raise anything
        return None, _told(error)


def _told(error: Exception) -> str:
    return f"{type(error).__name__}: {error}"


def _entry_points(group: str) -> tuple[Plugin, ...]:
    return _entry_points_on(group, tuple(sys.path))


@cache
def _entry_points_on(group: str, path: tuple[str, ...]) -> tuple[Plugin, ...]:
    """What the distributions on ``sys.path`` offer; read once for each state of it."""
    found = []
    for entry in metadata.entry_points(group=group):
        assert entry.dist is not None
        found.append(Plugin(group, entry.name, entry.value, entry.dist.name, entry.dist.version))
    return tuple(sorted(found, key=lambda p: (p.name, p.distribution)))


def _sort_out(
    offers: Iterable[tuple[str, Plugin]], noun: str, taken: Collection[str]
) -> tuple[dict[str, Plugin], dict[str, str]]:
    """By name: the one plugin that offers it, or why nobody may."""
    by_name: dict[str, list[Plugin]] = {}
    for name, plugin in offers:
        by_name.setdefault(name, []).append(plugin)
    good, refused = {}, {}
    for name, plugins in by_name.items():
        origins = " and ".join(p.origin for p in plugins)
        if name in taken:
            refused[name] = f"{origins}: {noun} {name!r} is built in and stays so; rename yours"
        elif len(plugins) > 1:
            refused[name] = f"{noun} {name!r} is offered by {origins}; uninstall all but one"
        else:
            good[name] = plugins[0]
    return good, refused


@dataclass(frozen=True)
class ObjectKind:
    """A kind whose plugins are one object each.

    Attributes:
        noun: "method".
        group: entry-point group.
        taken: the built-in names.
        check: takes the name and what the entry point named, returns what is to be used.

    ``check`` raises ValueError with what is wrong.
    """

    noun: str
    group: str
    taken: Callable[[], Collection[str]]
    check: Callable[[str, Any], Any]

    def plugins(self) -> Mapping[str, Plugin]:
        """Those with a name of their own, importable or not."""
        return self._sorted()[0]

    def _sorted(self) -> tuple[dict[str, Plugin], dict[str, str]]:
        offers = ((p.name, p) for p in _entry_points(self.group))
        return _sort_out(offers, self.noun, self.taken())

    def knows(self, name: str) -> bool:
        """Whether a plugin offers the name.

        Raises:
            PluginError: several do.
        """
        good, refused = self._sorted()
        if name in refused and name not in self.taken():
            raise PluginError(refused[name])
        return name in good

    def load(self, name: str) -> Any:
        """The checked object of a plugin.

        Raises:
            PluginError: it cannot be imported, or is not what it should be.
        """
        plugin = self.plugins()[name]
        loaded = plugin.load()
        try:
            return self.check(name, loaded)
        except Exception as error:  # the check may call the stranger's code
            raise plugin.fail(str(error)) from error

    def usable(self) -> dict[str, Any]:
        """The checked objects of all plugins that work, by name."""
        found = {}
        for name in self.plugins():
            try:
                found[name] = self.load(name)
            except PluginError:
                continue  # `problems` tells
        return found

    def problems(self) -> list[str]:
        """What is wrong with the others."""
        found = list(self._sorted()[1].values())
        for name in self.plugins():
            try:
                self.load(name)
            except PluginError as error:
                found.append(str(error))
        return found

    def origin(self, name: str) -> str | None:
        """Distribution and version that a name comes from; None for a built-in one."""
        plugin = self.plugins().get(name)
        return plugin.origin if plugin else None


@dataclass(frozen=True)
class FileKind:
    """A kind whose plugins are folders of files, known by their names without the suffix.

    Attributes:
        noun: "concept".
        group: entry-point group.
        suffix: ".yaml".
        taken: the built-in names.
        check: reads a file; raises a UserError with what is wrong with it.
    """

    noun: str
    group: str
    suffix: str
    taken: Callable[[], Collection[str]]
    check: Callable[[Path], object]

    def files(self) -> Mapping[str, Path]:
        """The files with a name of their own, well-formed or not."""
        return {name: self._path(name, plugin) for name, plugin in self._sorted()[0].items()}

    def _path(self, name: str, plugin: Plugin) -> Path:
        return plugin.folder() / f"{name}{self.suffix}"

    def _sorted(self) -> tuple[dict[str, Plugin], dict[str, str]]:
        offers = []
        for plugin in _entry_points(self.group):
            try:
                folder = plugin.folder()
            except PluginError:
                continue  # `problems` tells
            offers += [(file.stem, plugin) for file in sorted(folder.glob(f"*{self.suffix}"))]
        return _sort_out(offers, self.noun, self.taken())

    def problems(self, *, read: bool = True) -> list[str]:
        """What is wrong with folders and names, and, if they are to be read, with files."""
        found = []
        for plugin in _entry_points(self.group):
            try:
                if not any(plugin.folder().glob(f"*{self.suffix}")):
                    found.append(str(plugin.fail(f"{plugin.folder()} has no *{self.suffix}")))
            except PluginError as error:
                found.append(str(error))
        good, refused = self._sorted()
        found += refused.values()
        for name, plugin in good.items() if read else ():
            try:
                self.check(self._path(name, plugin))
            except UserError as error:
                found.append(str(plugin.fail(str(error))))
        return found

    def excuse(self) -> str:
        """The end of an error message about an unknown name: what could not be looked into."""
        problems = self.problems(read=False)
        return "".join(f"\n{problem}" for problem in problems)

    def origin(self, name: str) -> str | None:
        """Distribution and version that a name comes from; None for a built-in one."""
        plugin = self._sorted()[0].get(name)
        return plugin.origin if plugin else None
