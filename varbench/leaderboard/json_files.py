"""Checked JSON files: read strictly, and laid out so that a diff shows what changed."""

from __future__ import annotations

import json
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Annotated, Any, TypeVar

from pydantic import (
    AfterValidator,
    BaseModel,
    ConfigDict,
    StringConstraints,
    ValidationError,
    model_serializer,
)

from varbench.errors import UserError

T = TypeVar("T", bound=BaseModel)

VERSION = 1
"""Of the schema of all files in a results folder."""
WIDTH = 150
"""Characters of a line: one metric's numbers of one edit seed fit."""


class ResultsError(UserError, ValueError):
    """A results file is malformed or cannot be made; the message names the file and the fix."""


def _rounded(value: float) -> float:
    return float(f"{value:.6g}")


Number = Annotated[float, AfterValidator(_rounded)]
Name = Annotated[str, StringConstraints(pattern=r"^[A-Za-z0-9][A-Za-z0-9._-]*$")]
"""It becomes a file name, so it must not leave its folder."""


class Part(BaseModel):
    """A JSON object of a file: unknown keys, converted values and NaN are errors."""

    model_config = ConfigDict(
        extra="forbid", frozen=True, strict=True, allow_inf_nan=False, protected_namespaces=()
    )

    @model_serializer(mode="wrap")
    def _without_unset(self, serialise: Callable[[Any], dict[str, Any]]) -> dict[str, Any]:
        """All fields but optional ones that are null, which later versions have added."""
        known, fields = type(self).model_fields, serialise(self)
        return {n: v for n, v in fields.items() if v is not None or known[n].is_required()}


def read_as(kind: type[T], path: Path) -> T:
    """A JSON file as `kind`.

    Raises:
        ResultsError: it cannot be read or does not fit; says where and why.
    """
    try:
        data = path.read_bytes()
        return kind.model_validate_json(data)
    except OSError as error:
        raise ResultsError(f"{path}: {error.strerror}") from error
    except ValidationError as error:
        if (newer := _schema_version(data)) > VERSION:
            raise ResultsError(
                f"{path}: written by a newer varbench (schema {newer}, here {VERSION}); upgrade"
            ) from error
        wrong = [f"{'.'.join(map(str, e['loc'])) or 'file'}: {e['msg']}" for e in error.errors()]
        more = f" (and {len(wrong) - 3} more)" if len(wrong) > 3 else ""
        raise ResultsError(f"{path}: {'; '.join(wrong[:3])}{more}") from error


def _schema_version(data: bytes) -> int:
    """The version that a file states; 0 if it states none."""
    try:
        version = json.loads(data)["schema_version"]
    except (ValueError, KeyError, TypeError, RecursionError):
        return 0
    return version if isinstance(version, int) else 0


def layout(value: Any) -> str:
    """JSON with a line for every object or array that fits into `WIDTH`."""
    return "\n".join(_lines(value, ""))


def _lines(value: Any, indent: str) -> Iterator[str]:
    flat = json.dumps(value, ensure_ascii=False, allow_nan=False)
    if not value or not isinstance(value, dict | list) or len(indent) + len(flat) <= WIDTH:
        yield indent + flat
        return
    opening, closing = ("{", "}") if isinstance(value, dict) else ("[", "]")
    yield indent + opening
    names = list(value) if isinstance(value, dict) else [None] * len(value)
    parts = list(value.values()) if isinstance(value, dict) else value
    for i, (name, part) in enumerate(zip(names, parts, strict=True)):
        head = "" if name is None else f"{json.dumps(name, ensure_ascii=False)}: "
        lines = list(_lines(part, indent + " "))
        lines[0] = f"{indent} {head}{lines[0].lstrip(' ')}"
        lines[-1] += "," * (i < len(parts) - 1)
        yield from lines
    yield indent + closing
