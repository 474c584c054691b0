"""Rows of CSV files, read strictly; errors name file and line."""

from __future__ import annotations

import csv
import io
from collections.abc import Iterator
from pathlib import Path

from varbench.data.prompt import PromptSetError


def read_bytes(path: Path) -> bytes:
    """The bytes of a file.

    Raises:
        PromptSetError: it cannot be read.
    """
    try:
        return path.read_bytes()
    except (OSError, ValueError) as error:  # ValueError: a path with a NUL character
        raise PromptSetError(f"{path}: cannot be read ({error}); check the path") from error


def decode(path: Path, data: bytes) -> str:
    """The text of a UTF-8 file, without a byte order mark.

    Raises:
        PromptSetError: it is not UTF-8; names the first such line.
    """
    try:
        return data.decode("utf-8-sig")  # spreadsheets like to put a byte order mark first
    except UnicodeDecodeError as error:
        line = data[: error.start].count(b"\n") + 1
        raise PromptSetError(f"{path}:{line}: not UTF-8; save the file as UTF-8") from error


def csv_rows(path: Path, data: bytes) -> Iterator[tuple[int, list[str]]]:
    """The rows of a CSV file, each with the number of its first line (counted from 1).

    Cells are texts as written: `NULL`, `NaN` and `001` stay what they are.

    Raises:
        PromptSetError: the file is not UTF-8 or not CSV.
    """
    reader = csv.reader(io.StringIO(decode(path, data), newline=""), strict=True)
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


def check_row(path: Path, line: int, row: list[str], header: list[str]) -> None:
    """Refuse a row that does not fit the header, or an empty line.

    Raises:
        PromptSetError: it does not.
    """
    if not row:
        raise PromptSetError(f"{path}:{line}: empty line; delete it")
    if len(row) != len(header):
        raise PromptSetError(
            f"{path}:{line}: {len(row)} cells but the header has {len(header)} "
            f"({', '.join(header)}); add or delete cells, and put cells with commas in "
            '"double quotes"'
        )
