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
a name that is taken (built-in names stay built-in) is left out: its kind reports it in
``problems``, and asking for it by name raises a :class:`PluginError`.
"""

from __future__ import annotations

from collections.abc import Callable, Collection, Iterable, Mapping
from contextlib import suppress
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from varbench.errors import UserError
from varbench.utils.entry_points import Plugin, PluginError, entry_points


@dataclass(frozen=True)
class _Kind:
    """The common part of all kinds.

    Attributes:
        noun: "method".
        group: entry-point group.
    """

    noun: str
    group: str

    def _offers(self) -> Iterable[tuple[str, Plugin]]:
        raise NotImplementedError

    def _taken(self) -> Collection[str]:
        raise NotImplementedError

    def _sorted(self) -> tuple[dict[str, Plugin], dict[str, str]]:
        """Plugins by the names that only they offer, and name conflicts with their reason."""
        by_name: dict[str, list[Plugin]] = {}
        for name, plugin in self._offers():
            by_name.setdefault(name, []).append(plugin)
        good, refused, taken = {}, {}, self._taken()
        for name, plugins in by_name.items():
            origins, what = " and ".join(p.origin for p in plugins), f"{self.noun} {name!r}"
            if name in taken:
                refused[name] = f"{origins}: {what} is built in and stays so; rename yours"
            elif len(plugins) > 1:
                refused[name] = f"{what} is offered by {origins}; uninstall all but one"
            else:
                good[name] = plugins[0]
        return good, refused

    def plugins(self) -> Mapping[str, Plugin]:
        """The plugin of every name that only one offers, whether it works or not."""
        return self._sorted()[0]

    def origin(self, name: str) -> str | None:
        """Distribution and version that a name comes from; None for a built-in one."""
        plugin = self.plugins().get(name)
        return plugin.origin if plugin else None


@dataclass(frozen=True)
class ObjectKind(_Kind):
    """A kind whose plugins are one object each.

    Attributes:
        taken: the built-in names.
        check: takes the name and the object of the entry point, returns what is to be used;
            raises ValueError with the problem.
    """

    taken: Callable[[], Collection[str]]
    check: Callable[[str, Any], Any]

    def _taken(self) -> Collection[str]:
        return self.taken()

    def _offers(self) -> Iterable[tuple[str, Plugin]]:
        return ((plugin.name, plugin) for plugin in entry_points(self.group))

    def knows(self, name: str) -> bool:
        """True if a plugin offers the name.

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
            PluginError: it cannot be imported, or is not what its group promises.
        """
        plugin = self.plugins()[name]
        loaded = plugin.load()
        try:
            return self.check(name, loaded)
        except (Exception, SystemExit) as error:  # the check may call the plugin's code
            raise plugin.fail(str(error)) from error

    def usable(self) -> dict[str, Any]:
        """The checked objects of all plugins that work, by name."""
        return self._load_all()[0]

    def problems(self) -> list[str]:
        """Name conflicts, and the reasons why plugins cannot be used."""
        return [*self._sorted()[1].values(), *self._load_all()[1]]

    def _load_all(self) -> tuple[dict[str, Any], list[str]]:
        objects, problems = {}, []
        for name in self.plugins():
            try:
                objects[name] = self.load(name)
            except PluginError as error:
                problems.append(str(error))
        return objects, problems


@dataclass(frozen=True)
class FileKind(_Kind):
    """A kind whose plugins are folders of files, known by their names without the suffix.

    Attributes:
        folder: of the built-in files.
        suffix: ".yaml".
        check: reads a file; raises a UserError with the problem.
        reserved: names that no file of a plugin may have either.
    """

    folder: Path
    suffix: str
    check: Callable[[Path], object]
    reserved: Callable[[], Collection[str]] = tuple

    def _built_in(self) -> dict[str, Path]:
        return {path.stem: path for path in self.folder.glob(f"*{self.suffix}")}

    def _taken(self) -> Collection[str]:
        return {*self._built_in(), *self.reserved()}

    def files(self) -> Mapping[str, Path]:
        """All files, sorted by name: built-in ones, and those of plugins that can be told apart."""
        plugins = {name: self._path(name, plugin) for name, plugin in self.plugins().items()}
        return dict(sorted({**plugins, **self._built_in()}.items()))

    def _path(self, name: str, plugin: Plugin) -> Path:
        return plugin.folder() / f"{name}{self.suffix}"

    def _offers(self) -> Iterable[tuple[str, Plugin]]:
        for plugin in entry_points(self.group):
            with suppress(PluginError):  # reported by `problems`
                files = sorted(plugin.folder().glob(f"*{self.suffix}"))
                yield from ((file.stem, plugin) for file in files)

    def problems(self, *, read: bool = True) -> list[str]:
        """Problems of folders and names and, unless `read` is false, of the files' content."""
        messages = []
        for plugin in entry_points(self.group):
            try:
                if not any(plugin.folder().glob(f"*{self.suffix}")):
                    messages.append(str(plugin.fail(f"{plugin.folder()} has no *{self.suffix}")))
            except PluginError as error:
                messages.append(str(error))
        good, refused = self._sorted()
        messages += refused.values()
        for name, plugin in good.items() if read else ():
            try:
                self.check(self._path(name, plugin))
            except UserError as error:
                messages.append(str(plugin.fail(str(error))))
        return messages

    def excuse(self) -> str:
        """The end of an error message about an unknown name: folders that cannot be read."""
        return "".join(f"\n{problem}" for problem in self.problems(read=False))
