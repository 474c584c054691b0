"""Published files as prompt sets: as written, with every doubt reported by line.

Published lists repeat prompts (one row per image of Stable Diffusion, whose seeds mean nothing
here). A prompt set has each prompt once, so repeats are merged into their first row: its labels
stand, a tag holds if any of the rows has it, and label `rows` says how many rows there were. All
else that is wrong with a file refuses it.
"""

from __future__ import annotations

import hashlib
import json
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path

from varbench.data.csv_rows import check_row, csv_rows, decode
from varbench.data.prompt import Prompt, PromptSet, PromptSetError, prompt_id
from varbench.data.published.catalog import Columns, PromptSetAsset
from varbench.errors import suggest

_SHOWN = 3


@dataclass(frozen=True)
class Reading:
    """A published file as it was read.

    Attributes:
        prompt_set: its distinct prompts.
        rows: how many rows it has.
        repeats: (line, first line) of each row whose prompt an earlier row has; lines of a JSON
            file are the numbers of its items, counted from 1.
    """

    prompt_set: PromptSet
    rows: int
    repeats: tuple[tuple[int, int], ...]

    def summary(self, expected: PromptSetAsset) -> str:
        """`4703 rows, 4467 distinct prompts (line 31 repeats line 12, ...)`, and any surprise."""
        distinct = len(self.prompt_set.prompts)
        text = f"{self.rows} rows, {distinct} distinct prompts"
        if self.repeats:
            shown = [f"line {line} repeats line {first}" for line, first in self.repeats[:_SHOWN]]
            more = ", ..." if len(self.repeats) > _SHOWN else ""
            text += f" ({', '.join(shown)}{more})"
        for found, known, what in (
            (self.rows, expected.rows, "rows"),
            (distinct, expected.prompts, "distinct prompts"),
        ):
            if known is not None and found != known:
                text += f"; {known} {what} were expected, so this may be another version"
        return text


def read(published: PromptSetAsset, path: Path, data: bytes) -> Reading:
    """A published set from the bytes of its file.

    Args:
        published: what the table says of it.
        path: the file, for messages.
        data: its bytes.

    Raises:
        PromptSetError: malformed; names file, line and fix.
    """
    columns = published.columns
    if columns is None:
        raise PromptSetError(f"{published.name!r} is no prompt set; it is {published.format}")
    records = (_csv if published.format == "csv" else _json)(path, data, _wanted(columns))
    first: dict[str, int] = {}
    texts: dict[str, str] = {}
    labels: dict[str, dict[str, str]] = {}
    tags: dict[str, set[str]] = {}
    counts: dict[str, int] = {}
    repeats: list[tuple[int, int]] = []
    for line, record in records:
        text = record[columns.prompt]
        if not text.strip():
            raise PromptSetError(
                f"{path}:{line}: empty prompt; fetch the file again, or report it to its authors"
            )
        identifier = prompt_id(text)
        counts[identifier] = counts.get(identifier, 0) + 1
        if columns.tags is not None:
            found = (tag.strip() for tag in record[columns.tags].split(","))
            tags.setdefault(identifier, set()).update(tag for tag in found if tag)
        if identifier in first:
            repeats.append((line, first[identifier]))
            continue
        first[identifier], texts[identifier] = line, text
        labels[identifier] = {name: record[name] for name in columns.labels}
        if columns.neutral is not None:
            labels[identifier]["neutral"] = record[columns.neutral]
    if not first:
        raise PromptSetError(f"{path}:1: no prompts; fetch the file again")
    every_tag = sorted(set().union(*tags.values()))
    for identifier, mine in labels.items():
        mine |= {tag: "yes" if tag in tags[identifier] else "" for tag in every_tag}
        mine["rows"] = str(counts[identifier])
    strata = _strata(columns.labels, list(labels.values()))
    prompts = tuple(Prompt(texts[one], one, labels[one], strata) for one in first)
    found_set = PromptSet(published.name, hashlib.sha256(data).hexdigest(), prompts)
    return Reading(found_set, sum(counts.values()), tuple(repeats))


def _strata(names: Sequence[str], labels: Sequence[Mapping[str, str]]) -> tuple[str, ...]:
    """Label columns that group prompts: neither tags nor counts, nor a number for each prompt."""
    return tuple(
        name for name in names if len({mine[name] for mine in labels}) < max(2, len(labels))
    )


def _wanted(columns: Columns) -> tuple[str, ...]:
    optional = (columns.neutral, columns.tags)
    return (columns.prompt, *columns.labels, *(one for one in optional if one is not None))


def _csv(path: Path, data: bytes, wanted: tuple[str, ...]) -> Iterator[tuple[int, dict[str, str]]]:
    rows = csv_rows(path, data)
    _, header = next(rows, (1, []))
    for column in wanted:
        if header.count(column) != 1:
            raise PromptSetError(
                f"{path}:1: {header.count(column)} columns {column!r}; this file has "
                f"{', '.join(map(repr, header)) or 'no header'}: {suggest(column, header)}"
            )
    for line, row in rows:
        check_row(path, line, row, header)
        yield line, {column: row[header.index(column)] for column in wanted}


def _json(path: Path, data: bytes, wanted: tuple[str, ...]) -> Iterator[tuple[int, dict[str, str]]]:
    try:
        items = json.loads(decode(path, data))
    except json.JSONDecodeError as error:
        raise PromptSetError(f"{path}:{error.lineno}: not valid JSON ({error.msg})") from error
    if not isinstance(items, list):
        raise PromptSetError(f"{path}:1: a list of records is expected, not a {type(items)}")
    for number, item in enumerate(items, 1):
        for column in wanted:
            if not isinstance(item, dict) or not isinstance(item.get(column), str):
                known = item if isinstance(item, dict) else ()
                raise PromptSetError(
                    f"{path}: item {number} has no text {column!r}: {suggest(column, known)}"
                )
        yield number, {column: item[column] for column in wanted}
