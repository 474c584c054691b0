"""CSV files, read strictly; errors name file, line and fix."""

from __future__ import annotations

import csv
import io
from collections.abc import Iterator
from pathlib import Path

from varbench.utils.files import decode

Rows = Iterator[tuple[int, dict[str, str]]]


def read_csv(path: Path, data: bytes, error: type[Exception]) -> tuple[list[str], Rows]:
    """The header of a CSV file, and its rows, each with the number of its first line (from 1).

    Cells are texts as written: `NULL`, `NaN` and `001` stay what they are. The header is empty for
    an empty file, and as written otherwise: the caller looks for missing and repeated columns.

    Args:
        path: the file, for messages.
        data: its bytes.
        error: raised, also by the rows, where it is not UTF-8, not CSV, or a row does not fit the
            header.
    """
    lines = _lines(path, data, error)
    _, header = next(lines, (1, []))
    return header, _rows(path, lines, header, error)


def check_header(path: Path, header: list[str], error: type[Exception]) -> None:
    """Refuse columns without a name of their own: unnamed, repeated, with spaces around it."""
    for column in header:
        if not column.strip():
            raise error(f"{path}:1: a column has no name; name it or delete it")
        if column != column.strip():
            raise error(f"{path}:1: column {column!r} has spaces around its name; delete them")
        if header.count(column) > 1:
            raise error(f"{path}:1: column {column!r} appears twice; rename one of them")


def _lines(path: Path, data: bytes, error: type[Exception]) -> Iterator[tuple[int, list[str]]]:
    reader = csv.reader(io.StringIO(decode(path, data, error), newline=""), strict=True)
    line = 1
    while True:
        try:
            row = next(reader, None)
        except csv.Error as problem:
            raise error(
                f"{path}:{line}: not valid CSV ({problem}); put cells with commas, quotes or line "
                'breaks in "double quotes", and write a quote inside them twice'
            ) from problem
        if row is None:
            return
        yield line, row
        line = reader.line_num + 1


def _rows(
    path: Path, lines: Iterator[tuple[int, list[str]]], header: list[str], error: type[Exception]
) -> Rows:
    for line, row in lines:
        if not row:
            raise error(f"{path}:{line}: empty line; delete it")
        if len(row) != len(header):
            raise error(
                f"{path}:{line}: {len(row)} cells but the header has {len(header)} "
                f"({', '.join(header)}); add or delete cells, and put cells with commas in "
                '"double quotes"'
            )
        yield line, dict(zip(header, row, strict=True))
