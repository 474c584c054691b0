"""Prompt sets: CSV files of prompts with labels, checked and hashed when they are read.

A set is a UTF-8 CSV file with a header. The column `prompt` is required; every other column is a
*label*: what a faithful image shows (empty = not in the image). Beside the file lies a card of
the same name (`NAME.md`) that says where the prompts come from and under which licence.

A file is refused rather than repaired: a number about prompts means something only if everyone
reads the same prompts. Errors name the file, the line and the fix. Sets published by others, which
varbench does not ship, are known by name too once they are fetched (`varbench.data.published`).
"""

from __future__ import annotations

import hashlib
import os
import re
from collections.abc import Iterator
from pathlib import Path

from varbench.data.csv_rows import check_header, read_csv
from varbench.data.prompt import Prompt, PromptSet, PromptSetError, prompt_id
from varbench.data.published import catalog, data_folder
from varbench.errors import suggest
from varbench.utils.files import expanded, packaged, read_bytes
from varbench.utils.plugins import FileKind

_COLUMN = "prompt"
_LICENCE = re.compile(r"^- \*\*Licence\*\*: (.+?)\.?$", re.MULTILINE)


def list_prompt_sets() -> list[str]:
    """Names of the packaged prompt sets and those of plugins, sorted."""
    return list(KIND.files())


def is_path(name: str | os.PathLike[str], *suffixes: str) -> bool:
    """True if `name` means a user's own file, not a packaged one."""
    if not isinstance(name, str):
        return True
    return name.lower().endswith(suffixes) or "/" in name or os.sep in name


def licence(name: str) -> str | None:
    """The licence that the card of a packaged or a plugin's set states; None without a card."""
    card = KIND.files()[name].with_suffix(".md")
    try:
        licence = _LICENCE.search(card.read_text(encoding="utf-8"))
    except (OSError, UnicodeDecodeError):
        return None
    return licence[1] if licence else None


def load_prompt_set(name_or_path: str | os.PathLike[str]) -> PromptSet:
    """Read and check a prompt set.

    Args:
        name_or_path: name of a packaged set (`gallery-faces`), of a plugin's or of a published
            one (`i2p`), or a path: a `Path`, or a string that ends in `.csv` or contains a slash.

    Raises:
        MissingPromptSetError: the set is a published one and not fetched yet.
        PromptSetError: the set is unknown, cannot be read, or is malformed.
    """
    if is_path(name_or_path, ".csv"):
        path = expanded(name_or_path)
    else:
        name = str(name_or_path)
        known = KIND.files()
        sets = catalog.prompt_sets()
        if name in sets and name not in known:
            return data_folder.load(sets[name])
        if name not in known:
            raise PromptSetError(
                f"unknown prompt set {name!r}: {suggest(name, sorted({*known, *sets}))}; "
                f"or give the path of a CSV file{KIND.excuse()}"
            )
        path = known[name]
    data = read_bytes(path, PromptSetError)
    prompts = tuple(_read_prompts(path, data))
    if not prompts:
        raise PromptSetError(f"{path}:1: no prompts below the header; add at least one line")
    return PromptSet(path.stem, hashlib.sha256(data).hexdigest(), prompts)


def _read_prompts(path: Path, data: bytes) -> Iterator[Prompt]:
    header, rows = read_csv(path, data, PromptSetError)
    if not header:
        raise PromptSetError(
            f"{path}:1: no header; the first line names the columns, one of them 'prompt'"
        )
    check_header(path, header, PromptSetError)
    if _COLUMN not in header:
        raise PromptSetError(
            f"{path}:1: no column 'prompt'; {suggest(_COLUMN, header)} and rename it to 'prompt'"
        )
    first_lines: dict[str, int] = {}
    for line, cells in rows:
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


KIND = FileKind(
    "prompt set",
    "varbench.prompts",
    packaged("prompts"),
    ".csv",
    load_prompt_set,
    reserved=catalog.prompt_sets,
)
