"""A user's own concept with its prompt sets, kept in records so that they can be repeated."""

from __future__ import annotations

import os
import re
from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import Any

from varbench.data.concept_files import ConceptError
from varbench.data.prompt_sets import is_path
from varbench.data.yaml_files import read_yaml
from varbench.store.hashing import digest
from varbench.utils.files import decode, expanded, read_bytes

FILE, SETS = "concept_file", "concept_sets"
"""Fields of ``cell.json``: the text of the concept's file, and by their names its own sets."""


def contents(concept: str) -> dict[str, Any]:
    """Both fields for a concept as named on the command line; the second only if there are any."""
    if not is_path(concept, ".yaml", ".yml"):
        return {FILE: None}
    path = expanded(concept)
    sets = {name: _text(path.parent / expanded(name)) for name in own_sets(path)}
    return {FILE: _text(path), **({SETS: sets} if sets else {})}


def _text(path: Path) -> str:
    return decode(path, read_bytes(path, ConceptError), ConceptError)


def own_sets(path: Path) -> list[str]:
    """The sets of a concept file that are files themselves, as it names them."""
    named = _named(read_yaml(path, "the concept", ConceptError).content)
    return [name for name in dict.fromkeys(named) if is_path(name, ".csv")]


def _named(content: Any) -> Iterator[str]:
    """All values of keys `set`, wherever they stand."""
    if isinstance(content, dict):
        if isinstance(content.get("set"), str):
            yield content["set"]
        content = [*content.values()]
    for part in content if isinstance(content, list) else ():
        yield from _named(part)


def restore(cell: Mapping[str, Any], name: str, beside: Path, folder: Path) -> Path:
    """Write a record's concept and its sets so that they load as they did.

    Args:
        cell: the record.
        name: of the concept.
        beside: folder with the sets, for records of versions that did not keep them.
        folder: where concepts are kept.

    Returns:
        The concept's file.

    Raises:
        ValueError: the record names files elsewhere, its sets are nowhere, or files of other
            content lie where it goes.
        OSError: a file cannot be written.
    """
    if not re.fullmatch(r"[A-Za-z0-9][A-Za-z0-9+_-]*", name):
        raise ValueError(f"{name!r} cannot name a concept")  # nor escape the folder
    sets: dict[str, str] = dict(cell.get(SETS, {}))
    root = folder / digest([cell[FILE], sets])[:16]
    climbs = max((Path(each).parts.count("..") for each in sets), default=0)
    file = root.joinpath(*["in"] * max(climbs, 2)) / f"{name}.yaml"
    _write(file, cell[FILE])
    for each in own_sets(file):
        target = Path(os.path.normpath(file.parent / each))
        if expanded(each).is_absolute():
            continue  # read where it lies
        if not target.is_relative_to(root):
            raise ValueError(f"its prompt set {each!r} lies outside of what can be restored")
        if each not in sets and not (beside / each).is_file():
            raise ValueError(f"it lacks the prompt set {each!r}; put that file beside it")
        _write(target, sets[each] if each in sets else _text(beside / each))
    return file


def _write(path: Path, text: str) -> None:
    path.parent.mkdir(parents=True, exist_ok=True)
    if path.exists() and path.read_bytes() != text.encode("utf-8"):
        raise ValueError(f"{path} is there with other content; move it away")
    path.write_bytes(text.encode("utf-8"))
