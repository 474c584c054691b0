"""YAML files read strictly: every complaint names file, line and fix.

PyYAML's nodes are walked instead of its Python objects, because only nodes know their line, and
because a YAML object hides what a user should be told: a key given twice (the last one wins), an
unquoted `no` (False) or `1e3` (a string). Here the reader asks each node for what it expects.
"""

from __future__ import annotations

import re
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import NoReturn

import yaml

from varbench.errors import suggest

_INTEGER = re.compile(r"-?\d{1,18}")
_NULL = "tag:yaml.org,2002:null"
_KINDS: dict[type[yaml.Node], str] = {
    yaml.ScalarNode: "a text",
    yaml.SequenceNode: "a list",
    yaml.MappingNode: "a block of keys",
}


@dataclass(frozen=True)
class Field:
    """One value of a YAML file, and where it stands.

    Attributes:
        path: the file.
        name: what the value is called in messages (`judge.head`).
        node: PyYAML's node.
        error: the exception that complaints are raised as.
    """

    path: Path
    name: str
    node: yaml.Node
    error: type[ValueError]

    @property
    def line(self) -> int:
        """Line of the value, counted from 1."""
        return int(self.node.start_mark.line) + 1

    def fail(self, problem: str) -> NoReturn:
        """Raise the file's error: `file:line: problem`; the problem should name the fix."""
        raise self.error(f"{self.path}:{self.line}: {problem}")

    def _wrong_kind(self, expected: str) -> NoReturn:
        self.fail(f"{self.name!r} must be {expected}, not {_KINDS[type(self.node)]}")

    def _child(self, name: str, node: yaml.Node) -> Field:
        return Field(self.path, name, node, self.error)

    def text(self, *, empty: bool = False) -> str:
        """A text, as written: `no` stays "no" and `1` stays "1".

        Args:
            empty: allow "" (in quotes; a missing value is always refused).
        """
        if not isinstance(self.node, yaml.ScalarNode):
            self._wrong_kind("a text")
        value = str(self.node.value)
        if self.node.tag == _NULL or (not empty and not value.strip()):
            self.fail(f"{self.name!r} is empty; give it a text")
        return value

    def integer(self, low: int, high: int) -> int:
        """A whole number from low to high."""
        text = self.text()
        if not _INTEGER.fullmatch(text) or not low <= int(text) <= high:
            self.fail(f"{self.name!r} must be a whole number from {low} to {high}, not {text!r}")
        return int(text)

    def items(self, *, empty: bool = False) -> list[Field]:
        """A list.

        Args:
            empty: allow a list without items.
        """
        if not isinstance(self.node, yaml.SequenceNode):
            self._wrong_kind("a list, [in brackets] or with a dash before each item")
        if not self.node.value and not empty:
            self.fail(f"{self.name!r} is an empty list; give it at least one item")
        return [self._child(self.name, node) for node in self.node.value]

    def texts(self, *, empty: bool = False, empty_items: bool = False) -> tuple[str, ...]:
        """A list of distinct texts."""
        values: list[str] = []
        for item in self.items(empty=empty):
            value = item.text(empty=empty_items)
            if value in values:
                item.fail(f"{value!r} appears twice in {self.name!r}; delete one of them")
            values.append(value)
        return tuple(values)

    def entries(self) -> dict[str, Field]:
        """A block of keys of the user's choice."""
        if not isinstance(self.node, yaml.MappingNode):
            self._wrong_kind("a block of keys")
        found: dict[str, Field] = {}
        for key_node, node in self.node.value:
            key_field = self._child(f"a key of {self.name}", key_node)
            key = key_field.text()
            if key in found:
                key_field.fail(f"key {key!r} appears twice; delete one of them")
            found[key] = self._child(key, node)
        return found

    def keys(self, required: Sequence[str], optional: Sequence[str] = ()) -> dict[str, Field]:
        """A block of given keys, no others."""
        found = self.entries()
        valid = (*required, *optional)
        assert isinstance(self.node, yaml.MappingNode)  # `entries` made sure
        for key_node, _ in self.node.value:
            if key_node.value not in valid:
                unused = [key for key in valid if key not in found]
                self._child("", key_node).fail(
                    f"unknown key {key_node.value!r} in {self.name!r}: "
                    f"{suggest(key_node.value, unused or valid)}"
                )
        for key in required:
            if key not in found:
                self.fail(f"key {key!r} is missing in {self.name!r}; add it")
        return found


def read_yaml(path: Path, name: str, error: type[ValueError]) -> Field:
    """The one document of a YAML file.

    Args:
        path: the file, UTF-8.
        name: what the document is, for messages ("the concept").
        error: the exception that this and every later complaint is raised as.
    """
    try:
        text = path.read_bytes().decode("utf-8-sig")
    except UnicodeDecodeError as problem:
        line = problem.object[: problem.start].count(b"\n") + 1
        raise error(f"{path}:{line}: not UTF-8; save the file as UTF-8") from problem
    except (OSError, ValueError) as problem:  # ValueError: a path with a NUL character
        raise error(f"{path}: cannot be read ({problem}); check the path") from problem
    try:
        node = yaml.compose(text, Loader=yaml.SafeLoader)
    except yaml.MarkedYAMLError as problem:
        mark = problem.problem_mark or problem.context_mark
        line = mark.line + 1 if mark else 1
        raise error(
            f"{path}:{line}: not valid YAML ({problem.problem}); fix that line"
        ) from problem
    except yaml.reader.ReaderError as problem:
        line = text[: problem.position].count("\n") + 1
        raise error(f"{path}:{line}: a character that YAML does not allow; delete it") from problem
    except (ValueError, OverflowError, RecursionError) as problem:
        # PyYAML lets through escapes of impossible characters and very deep nesting.
        raise error(f"{path}:1: not valid YAML ({problem}); simplify the file") from problem
    if node is None:
        raise error(f"{path}:1: the file is empty; see varbench/conf/concept/ for examples")
    return Field(path, name, node, error)
