"""YAML files read into dataclasses by pydantic; every error names file, line and fix.

A file's form is a frozen dataclass decorated with `strict`: its fields are the keys, those without
a default are required, any other key is an error. Scalars reach pydantic as texts, as written (`no`
stays "no", `1e3` stays "1e3"), so that no guess of YAML's about types can change a value. The error
of a field's own check reads as the rest of a sentence that begins with the field's name.
"""

from __future__ import annotations

import dataclasses
import re
from collections.abc import Hashable, Sequence
from dataclasses import dataclass
from pathlib import Path
from types import NoneType
from typing import Annotated, Any, ClassVar, NoReturn, TypeVar, get_args, get_type_hints

import yaml
from pydantic import (
    AfterValidator,
    BeforeValidator,
    ConfigDict,
    Field,
    TypeAdapter,
    ValidationError,
    with_config,
)

from varbench.errors import suggest
from varbench.utils.files import decode, read_bytes

T = TypeVar("T")

strict = with_config(ConfigDict(extra="forbid"))


class _ItemError(ValueError):
    """An error at one item of a list."""

    def __init__(self, index: int, problem: str):
        super().__init__(problem)
        self.index = index


def _check_distinct(values: tuple[T, ...]) -> tuple[T, ...]:
    for index, value in enumerate(values):
        if value in values[:index]:
            raise _ItemError(index, f"has {value!r} twice; delete one of them")
    return values


def whole(low: int, high: int) -> BeforeValidator:
    """Annotation of an `int` field: a whole number from `low` to `high`."""

    def check(value: object) -> int:
        shown = ""
        if isinstance(value, str):
            if re.fullmatch(r"-?\d{1,18}", value) and low <= int(value) <= high:
                return int(value)
            shown = f", not {value!r}"
        raise ValueError(f"must be a whole number from {low} to {high}{shown}")

    return BeforeValidator(check)


AT_LEAST_ONE = Field(min_length=1)
DISTINCT = AfterValidator(_check_distinct)
Text = Annotated[str, Field(pattern=r"\S")]
AnyTexts = Annotated[tuple[Text, ...], DISTINCT]
Texts = Annotated[AnyTexts, AT_LEAST_ONE]
Labels = Annotated[tuple[str, ...], DISTINCT, AT_LEAST_ONE]  # "" is a label too

_NULL = "tag:yaml.org,2002:null"
_EMPTY = object()  # stands for YAML's null, which no field accepts, not even an optional one
_KINDS: dict[type[yaml.Node], str] = {
    yaml.ScalarNode: "a text",
    yaml.SequenceNode: "a list",
    yaml.MappingNode: "a block of keys",
}
_EXPECTED = {  # by pydantic's type of error
    "string_type": "a text",
    "literal_error": "a text",
    "tuple_type": "a list, [in brackets] or with a dash before each item",
}
_PROBLEMS = {
    "too_short": "is an empty list; give it at least one item",
    "string_pattern_mismatch": "is empty; give it a text",
}


@dataclass(frozen=True)
class Document:
    """A YAML file.

    Attributes:
        path: the file.
        name: what the document is, for messages ("the concept").
        error: the exception that every complaint is raised as.
        root: PyYAML's node: nodes know their lines.
        content: the same as dictionaries, lists and texts.
    """

    path: Path
    name: str
    error: type[Exception]
    root: yaml.Node
    content: Any

    def fail(self, problem: str, *at: str | int) -> NoReturn:
        """Raise the file's error, `file:line: problem`.

        Args:
            problem: what is wrong, and the fix.
            at: keys and indices that lead to the place.
        """
        self._fail(problem, self._node(at))

    def read(self, form: type[T], *at: str | int) -> T:
        """The document, or the part at a place, in a form; a complaint if it does not fit."""
        content = self.content
        for step in at:
            content = content[step]
        try:
            value: T = TypeAdapter(form).validate_python(content)
        except ValidationError as error:
            problems = error.errors(include_url=False)
            # A misspelt key is missing too; its own error has the better hint.
            first = min(problems, key=lambda problem: not _is_unknown_key(problem))
            self._refuse(form, at, first)
        return value

    def _refuse(self, form: Any, at: Sequence[str | int], problem: Any) -> NoReturn:
        inner, kind = problem["loc"], problem["type"]
        place = (*at, *inner)
        name, node = self._name(place), self._node(place)
        if _is_unknown_key(problem):
            block = self._node(place[:-1])
            key = next(key for key, _ in block.value if key.value == place[-1])
            names = list(TypeAdapter(_form_at(form, inner[:-1])).json_schema()["properties"])
            unused = set(names) - {key.value for key, _ in block.value}
            choice = suggest(key.value, [name for name in names if name in unused] or names)
            self._fail(f"unknown key {key.value!r} in {self._name(place[:-1])!r}: {choice}", key)
        if kind == "missing":
            self.fail(f"key {name!r} is missing in {self._name(place[:-1])!r}; add it", *place)
        if kind == "value_error":
            cause = problem["ctx"]["error"]
            index = (cause.index,) if isinstance(cause, _ItemError) else ()
            self.fail(f"{name!r} {cause}", *place, *index)
        if kind in _PROBLEMS:
            self.fail(f"{name!r} {_PROBLEMS[kind]}", *place)
        expected = _EXPECTED.get(kind, "a block of keys")
        if node.tag == _NULL:
            self.fail(f"{name!r} is empty; give it {expected}", *place)
        if kind == "literal_error" and isinstance(node, yaml.ScalarNode):
            choice = suggest(node.value, get_args(_form_at(form, inner)))
            self.fail(f"unknown {name} {node.value!r}: {choice}", *place)
        self.fail(f"{name!r} must be {expected}, not {_KINDS[type(node)]}", *place)

    def _fail(self, problem: str, node: yaml.Node) -> NoReturn:
        raise self.error(f"{self.path}:{node.start_mark.line + 1}: {problem}")

    def _name(self, at: Sequence[str | int]) -> str:
        return next((step for step in reversed(at) if isinstance(step, str)), self.name)

    def _node(self, at: Sequence[str | int]) -> yaml.Node:
        """The node at a place, or the nearest above it that exists."""
        node = self.root
        for step in at:
            if isinstance(node, yaml.MappingNode):
                children = {key.value: value for key, value in node.value}
            else:
                children = dict(enumerate(node.value))
            if step not in children:
                break
            node = children[step]
        return node


def _is_unknown_key(problem: Any) -> bool:
    return bool(problem["type"] == "unexpected_keyword_argument")


def _form_at(form: Any, at: Sequence[str | int]) -> Any:
    """The type that a form has at a place."""
    for step in at:
        if dataclasses.is_dataclass(form):
            form = get_type_hints(form)[str(step)]
        else:  # a list's items or a dictionary's values
            form = get_args(form)[0 if isinstance(step, int) else -1]
        if NoneType in get_args(form):
            form = get_args(form)[0]
    return form


def read_yaml(path: Path, name: str, error: type[Exception]) -> Document:
    """The one document of a YAML file.

    Args:
        path: the file, UTF-8.
        name: what the document is, for messages ("the concept").
        error: the exception that this and every later complaint is raised as.
    """
    text = decode(path, read_bytes(path, error), error)
    try:
        loader = _Loader(text)
        node = loader.get_single_node()
        content = None if node is None else loader.construct_document(node)
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
    return Document(path, name, error, node, content)


class _Loader(yaml.SafeLoader):  # type: ignore[misc]
    """Constructs scalars as texts; refuses keys that are no text, and repeated ones."""

    yaml_constructors: ClassVar[dict[str, Any]] = {}  # none for any tag

    def construct_scalar(self, node: Any) -> Any:
        return _EMPTY if node.tag == _NULL else node.value

    def construct_mapping(self, node: Any, deep: bool = False) -> dict[Hashable, Any]:
        content: dict[Hashable, Any] = {}
        for key, value in node.value:
            if not isinstance(key, yaml.ScalarNode) or key.tag == _NULL or not key.value.strip():
                raise _bad_key("a key must be a text; write one", key)
            if key.value in content:
                raise _bad_key(f"key {key.value!r} appears twice; delete one of them", key)
            content[key.value] = self.construct_object(value)
        return content


def _bad_key(problem: str, key: yaml.Node) -> yaml.MarkedYAMLError:
    return yaml.MarkedYAMLError(problem=problem, problem_mark=key.start_mark)
