"""Published files as prompt sets: as written, with every doubt reported by line.

Published lists repeat prompts (one row per image of Stable Diffusion, whose seeds mean nothing
here). A prompt set has each prompt once, so repeats are merged into their first row: its labels
stand, a tag holds if any of the rows has it, and label `rows` says how many rows there were. All
else that is wrong with a file refuses it.
"""

from __future__ import annotations

import hashlib
import json
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING

from varbench.data.csv_rows import Rows, read_csv
from varbench.data.prompt import Prompt, PromptSet, PromptSetError, prompt_id
from varbench.data.published.catalog import Columns, PromptSetAsset
from varbench.errors import UserError, machine_failed, suggest
from varbench.utils.files import decode

if TYPE_CHECKING:
    import numpy as np

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
    optional = [name for name in (columns.neutral, columns.tags) if name is not None]
    wanted = (columns.prompt, *columns.labels, *optional)
    records = (_csv if published.format == "csv" else _json)(path, data, wanted)
    rows_of: dict[str, list[tuple[int, dict[str, str]]]] = {}
    for line, record in records:
        if not record[columns.prompt].strip():
            raise PromptSetError(
                f"{path}:{line}: empty prompt; fetch the file again, or report it to its authors"
            )
        rows_of.setdefault(prompt_id(record[columns.prompt]), []).append((line, record))
    if not rows_of:
        raise PromptSetError(f"{path}:1: no prompts; fetch the file again")
    tags = {id: {t for _, row in rows for t in _tags(row, columns)} for id, rows in rows_of.items()}
    every_tag = sorted(set().union(*tags.values()))
    labels: dict[str, dict[str, str]] = {}
    for id, rows in rows_of.items():
        _, first = rows[0]
        labels[id] = {name: first[name] for name in columns.labels}
        if columns.neutral is not None:
            labels[id]["neutral"] = first[columns.neutral]
        labels[id] |= {tag: "yes" if tag in tags[id] else "" for tag in every_tag}
        labels[id]["rows"] = str(len(rows))
    strata = _strata(columns.labels, list(labels.values()))
    prompts = tuple(
        Prompt(rows[0][1][columns.prompt], id, labels[id], strata) for id, rows in rows_of.items()
    )
    repeats = [(line, rows[0][0]) for rows in rows_of.values() for line, _ in rows[1:]]
    prompt_set = PromptSet(published.name, hashlib.sha256(data).hexdigest(), prompts)
    return Reading(prompt_set, len(prompts) + len(repeats), tuple(sorted(repeats)))


def _tags(record: Mapping[str, str], columns: Columns) -> set[str]:
    tags = record[columns.tags].split(",") if columns.tags is not None else []
    return {tag.strip() for tag in tags} - {""}


def _strata(names: Sequence[str], labels: Sequence[Mapping[str, str]]) -> tuple[str, ...]:
    """Label columns that group prompts: neither tags nor counts, nor a number for each prompt."""
    return tuple(
        name for name in names if len({mine[name] for mine in labels}) < max(2, len(labels))
    )


def _csv(path: Path, data: bytes, wanted: tuple[str, ...]) -> Rows:
    header, rows = read_csv(path, data, PromptSetError)
    for column in wanted:
        if header.count(column) != 1:
            raise PromptSetError(
                f"{path}:1: {header.count(column)} columns {column!r}; this file has "
                f"{', '.join(map(repr, header)) or 'no header'}: {suggest(column, header)}"
            )
    return rows


def _json(path: Path, data: bytes, wanted: tuple[str, ...]) -> Rows:
    try:
        items = json.loads(decode(path, data, PromptSetError))
    except json.JSONDecodeError as error:
        raise PromptSetError(f"{path}:{error.lineno}: not valid JSON ({error.msg})") from error
    except RecursionError as error:
        raise PromptSetError(f"{path}:1: nested too deeply for a list of records") from error
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


def read_statistics(path: Path, name: str) -> tuple[np.ndarray, np.ndarray]:
    """Mean `[d]` and covariance `[d, d]` of features, float64, of clean-fid's `make_custom_stats`.

    Args:
        path: the `.npz` file.
        name: of the published statistics, for messages.

    Raises:
        UserError: the file does not hold them, or they are not finite.
    """
    import numpy as np

    try:
        with path.open("rb") as file, np.load(file, allow_pickle=False) as arrays:
            mean, covariance = (np.asarray(arrays[key], np.float64) for key in ("mu", "sigma"))
    except Exception as error:  # a crafted archive provokes a dozen kinds
        if machine_failed(error):
            raise
        problem = f"holds no arrays mu and sigma ({error})"
    else:
        if mean.ndim == 1 and mean.size and covariance.shape == 2 * mean.shape:
            if np.isfinite(covariance).all():
                return mean, covariance
            problem = "sigma is not finite"
        else:
            shapes = f"mu {list(mean.shape)} and sigma {list(covariance.shape)}"
            problem = f"{shapes} do not fit; they are a mean [d] and a covariance [d, d]"
    raise UserError(f"{path}: {problem}; run `varbench fetch {name}`")
