"""Prompt sets: CSV files of prompts with labels, checked and hashed when they are read.

A set is a UTF-8 CSV file with a header. The column `prompt` is required; every other column is a
*label*: what a faithful picture shows (empty = not in the picture). Beside the file lies a card of
the same name (`NAME.md`) that says where the prompts come from and under which licence.

A file is refused rather than repaired: a number about prompts means something only if everyone
reads the same prompts. Errors name the file, the line and the fix.
"""

from __future__ import annotations

import csv
import hashlib
import importlib.util
import io
import os
from collections.abc import Iterator, Mapping
from dataclasses import dataclass, field
from pathlib import Path

from varbench.errors import UserError
from varbench.ids import prompt_id
from varbench.plugins import FileKind
from varbench.wording import suggest

__all__ = [
    "Prompt",
    "PromptSet",
    "PromptSetError",
    "list_prompt_sets",
    "load_prompt_set",
    "prompts_root",
]

_COLUMN = "prompt"


class PromptSetError(UserError, ValueError):
    """A prompt set is unknown or malformed; the message names file, line and fix."""


@dataclass(frozen=True)
class Prompt:
    """One prompt.

    Attributes:
        text: the prompt, exactly as written in the file.
        id: `prompt_id(text)`, 16 hex digits.
        labels: what a faithful picture shows, one entry per label column; "" = not in the picture.
    """

    text: str
    id: str
    labels: Mapping[str, str] = field(hash=False)


@dataclass(frozen=True)
class PromptSet:
    """A prompt set: distinct, non-empty prompts in the order of the file.

    Attributes:
        name: the file's name without `.csv`.
        sha256: hash of the file's bytes, 64 hex digits.
        prompts: at least one prompt.
    """

    name: str
    sha256: str
    prompts: tuple[Prompt, ...]

    @property
    def columns(self) -> tuple[str, ...]:
        """Names of the label columns, in the order of the file."""
        return tuple(self.prompts[0].labels)

    def values(self, column: str) -> tuple[str, ...]:
        """The distinct labels of a column, in order of appearance ("" included).

        Raises:
            KeyError: the set has no such label column.
        """
        return tuple(dict.fromkeys(prompt.labels[column] for prompt in self.prompts))


def prompts_root() -> Path:
    """The folder of the packaged prompt sets.

    In a wheel that is the package `varbench_prompts` (beside `varbench`), in a checkout or an
    editable install the repository's `prompts/`. What lies beside this `varbench` comes first, so
    that a checkout never reads the sets of another installed version.

    Raises:
        PromptSetError: neither is there.
    """
    home = Path(__file__).resolve().parents[1]
    candidates = [home / "varbench_prompts", home / "prompts"]
    # Not importlib.resources.files: it imports the package, and gives no path for one without
    # an __init__.py.
    spec = importlib.util.find_spec("varbench_prompts")
    if spec is not None:
        candidates += [Path(place) for place in spec.submodule_search_locations or ()]
    for folder in candidates:
        if any(folder.glob("*.csv")):
            return folder
    raise PromptSetError(
        f"no packaged prompt sets at {candidates[0]} or {candidates[1]}; "
        "reinstall varbench, or give the path of a CSV file"
    )


def _built_in() -> dict[str, Path]:
    return {path.stem: path for path in prompts_root().glob("*.csv")}


def list_prompt_sets() -> list[str]:
    """Names of the packaged prompt sets and those of plugins, sorted."""
    return sorted({**PLUGINS.files(), **_built_in()})


def is_path(name: str | os.PathLike[str], *suffixes: str) -> bool:
    """Whether a user who wrote `name` means a file of their own, not a packaged one."""
    if not isinstance(name, str):
        return True
    return name.lower().endswith(suffixes) or "/" in name or os.sep in name


def load_prompt_set(name_or_path: str | os.PathLike[str]) -> PromptSet:
    """Read and check a prompt set.

    Args:
        name_or_path: name of a packaged set (`gallery-faces`) or of a plugin's, or a path: a
            `Path`, or a string that ends in `.csv` or contains a slash.

    Raises:
        PromptSetError: the set is unknown, cannot be read, or is malformed.
    """
    if is_path(name_or_path, ".csv"):
        path = Path(name_or_path)
    else:
        name = str(name_or_path)
        known = {**PLUGINS.files(), **_built_in()}
        if name not in known:
            raise PromptSetError(
                f"unknown prompt set {name!r}: {suggest(name, sorted(known))}; "
                f"or give the path of a CSV file{PLUGINS.excuse()}"
            )
        path = known[name]
    try:
        data = path.read_bytes()
    except (OSError, ValueError) as error:  # ValueError: a path with a NUL character
        raise PromptSetError(f"{path}: cannot be read ({error}); check the path") from error
    prompts = tuple(_read_prompts(path, data))
    if not prompts:
        raise PromptSetError(f"{path}:1: no prompts below the header; add at least one line")
    return PromptSet(path.stem, hashlib.sha256(data).hexdigest(), prompts)


def _rows(path: Path, data: bytes) -> Iterator[tuple[int, list[str]]]:
    """The rows of a CSV file, each with the number of its first line (counted from 1)."""
    try:
        text = data.decode("utf-8-sig")  # spreadsheets like to put a byte order mark first
    except UnicodeDecodeError as error:
        line = data[: error.start].count(b"\n") + 1
        raise PromptSetError(f"{path}:{line}: not UTF-8; save the file as UTF-8") from error
    reader = csv.reader(io.StringIO(text, newline=""), strict=True)
    line = 1
    while True:
        try:
            row = next(reader, None)
        except csv.Error as error:
            raise PromptSetError(
                f"{path}:{line}: not valid CSV ({error}); put cells with commas, quotes or line "
                'breaks in "double quotes", and write a quote inside them twice'
            ) from error
        if row is None:
            return
        yield line, row
        line = reader.line_num + 1


def _check_header(path: Path, header: list[str]) -> None:
    for column in header:
        if not column.strip():
            raise PromptSetError(f"{path}:1: a column has no name; name it or delete it")
        if column != column.strip():
            raise PromptSetError(
                f"{path}:1: column {column!r} has spaces around its name; delete them"
            )
        if header.count(column) > 1:
            raise PromptSetError(f"{path}:1: column {column!r} appears twice; rename one of them")
    if _COLUMN not in header:
        raise PromptSetError(
            f"{path}:1: no column 'prompt'; {suggest(_COLUMN, header)} and rename it to 'prompt'"
        )


def _read_prompts(path: Path, data: bytes) -> Iterator[Prompt]:
    rows = _rows(path, data)
    _, header = next(rows, (1, []))
    if not header:
        raise PromptSetError(
            f"{path}:1: no header; the first line names the columns, one of them 'prompt'"
        )
    _check_header(path, header)
    first_lines: dict[str, int] = {}
    for line, row in rows:
        if not row:
            raise PromptSetError(f"{path}:{line}: empty line; delete it")
        if len(row) != len(header):
            raise PromptSetError(
                f"{path}:{line}: {len(row)} cells but the header has {len(header)} "
                f"({', '.join(header)}); add or delete cells, and put cells with commas in "
                '"double quotes"'
            )
        cells = dict(zip(header, row, strict=True))
        text = cells.pop(_COLUMN)
        if not text.strip():
            raise PromptSetError(f"{path}:{line}: empty prompt; write one or delete the line")
        identifier = prompt_id(text)
        if identifier in first_lines:
            raise PromptSetError(
                f"{path}:{line}: same prompt as in line {first_lines[identifier]}: {text!r}; "
                "delete one of them"
            )
        first_lines[identifier] = line
        yield Prompt(text, identifier, cells)


PLUGINS = FileKind("prompt set", "varbench.prompts", ".csv", _built_in, load_prompt_set)
