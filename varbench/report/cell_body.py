"""The content of a `cell.json`, of which a report parses only the parts that it shows."""

from __future__ import annotations

import json
import re
from collections.abc import Callable, Iterator, Mapping
from pathlib import Path
from typing import Any

from varbench.store import Entry

_LONG = {"pictures", "failed"}
_MEMBER = re.compile(rb'\n "(\w+)": ')


def read_body(entry: Entry, check: Callable[[object], None]) -> Mapping[str, Any]:
    """The content of a cell; its long parts are read from the file when they are asked for.

    Args:
        check: raises on parts that are no cell's.

    Raises:
        StoreError: the file is no JSON.
    """
    try:
        return CellBody(entry.path("cell.json"), check)
    except (ValueError, RecursionError):  # not as a run writes it: read whole
        content: Mapping[str, Any] = entry.json("cell.json")
        check(content)
        return content


class CellBody(Mapping[str, Any]):
    """A `cell.json` as a run writes it, as a mapping that reads what it is asked for.

    Long parts are not kept: those of a thousand cells take a gigabyte.

    Raises:
        ValueError: the file has another layout, or is not JSON.
    """

    def __init__(self, path: Path, check: Callable[[object], None]) -> None:
        self._path, self._check = path, check
        parts = _members(path.read_bytes())
        self._names = list(parts)
        self._parsed = {n: json.loads(part) for n, part in parts.items() if n not in _LONG}
        check(self._parsed)

    def __getitem__(self, name: str) -> Any:
        if name not in self._parsed and name in self._names:
            value = json.loads(_members(self._path.read_bytes())[name])
            self._check({name: value})
            return value
        return self._parsed[name]

    def __iter__(self) -> Iterator[str]:
        return iter(self._names)

    def __len__(self) -> int:
        return len(self._names)


def _members(text: bytes) -> dict[str, bytes]:
    """The JSON of each member, by name.

    A run indents by one space, and no JSON string has a line break in it: so a member begins where
    a line has one space and a quote.
    """
    begins = list(_MEMBER.finditer(text))
    if not text.startswith(b'{\n "') or not begins:
        raise ValueError("not indented by one space")
    ends = [member.start() - 1 for member in begins[1:]] + [text.rindex(b"\n}")]
    pairs = zip(begins, ends, strict=True)
    return {begin[1].decode("ascii"): text[begin.end() : end] for begin, end in pairs}
