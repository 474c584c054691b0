"""Lists of images that another program made: which file shows which prompt and image seed.

A folder has a manifest, a UTF-8 CSV file with the columns `file`, `prompt`, `seed` and perhaps
`group`; other columns are labels of the prompts. Or it is laid out as GenEval lays out images:
`00000/metadata.jsonl`, whose record has the `prompt`, beside `00000/samples/0000.png`, whose number
is the seed. Lists are read strictly: whatever is odd is an error that names file and line.
"""

from __future__ import annotations

import hashlib
import json
import re
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from varbench.data.csv_rows import check_row, csv_rows, decode, read_bytes
from varbench.data.prompt import PromptSetError
from varbench.errors import UserError, suggest

MANIFEST = "manifest.csv"
REQUIRED = ("file", "prompt", "seed")
GROUP = "group"
_SEED = re.compile(r"\d{1,18}")
_DOUBT = "save the list as UTF-8 text with one row per image"


class ImageListError(UserError):
    """A list of images is missing or malformed; names file, line and fix."""


@dataclass(frozen=True)
class Line:
    """One image as the list has it.

    Attributes:
        where: list and line, for messages.
        file: path below the folder, with forward slashes.
        prompt: text, as written.
        seed: image seed, at least 0.
        group: prompt group, or "" where the list does not say.
        labels: other columns.
    """

    where: str
    file: str
    prompt: str
    seed: int
    group: str
    labels: Mapping[str, str]


@dataclass(frozen=True)
class ImageList:
    """A whole list.

    Attributes:
        folder: where the files are.
        sha256: of the list's content, 64 hex digits.
        lines: one per image, in the order of the list; no file and no image twice.
    """

    folder: Path
    sha256: str
    lines: tuple[Line, ...]


def read_list(folder: Path, manifest: Path | None = None) -> ImageList:
    """The images of a folder.

    Args:
        folder: with the images, and `manifest.csv` or GenEval's layout.
        manifest: another list; its paths are below `folder` all the same.

    Raises:
        ImageListError: there is none, or it is malformed.
    """
    if not folder.is_dir():
        raise ImageListError(f"there is no folder {folder}; check the path")
    own = folder / MANIFEST
    if manifest is not None or own.is_file():
        path = manifest or own
        try:
            data = read_bytes(path)
            lines = list(_csv_lines(path, data))
        except PromptSetError as error:
            raise ImageListError(str(error)) from error
        digest = hashlib.sha256(data).hexdigest()
    else:
        lines = list(_geneval_lines(folder))
        content = [[one.file, one.prompt, one.seed] for one in lines]
        digest = hashlib.sha256(json.dumps(content).encode()).hexdigest()
        if not lines:
            raise ImageListError(
                f"{folder} has no {MANIFEST} (columns {', '.join(REQUIRED)} and perhaps {GROUP}) "
                "and no 00000/metadata.jsonl; write a list, or name one with --manifest"
            )
    _check_distinct(lines)
    return ImageList(folder, digest, tuple(lines))


def _csv_lines(path: Path, data: bytes) -> Iterator[Line]:
    rows = csv_rows(path, data)
    _, header = next(rows, (1, []))
    for name in REQUIRED:
        if name not in header:
            there = ", ".join(map(repr, header)) or "no header"
            raise ImageListError(
                f"{path}:1: no column {name!r}; a list has the columns {', '.join(REQUIRED)} and "
                f"perhaps {GROUP}, this one has {there}"
            )
    for name in header:
        if header.count(name) > 1:
            raise ImageListError(f"{path}:1: column {name!r} appears twice; rename one of them")
        if name != name.strip() or not name:
            raise ImageListError(f"{path}:1: column {name!r} has spaces or no name; mend it")
    count = 0
    for line, row in rows:
        check_row(path, line, row, header)
        cells = dict(zip(header, row, strict=True))
        file, prompt, seed = (cells.pop(name) for name in REQUIRED)
        group = cells.pop(GROUP, "")
        yield _line(f"{path}:{line}", file, prompt, seed, group, cells)
        count += 1
    if not count:
        raise ImageListError(f"{path}:1: no images below the header; {_DOUBT}")


def _line(
    where: str, file: str, prompt: str, seed: str, group: str, labels: Mapping[str, str]
) -> Line:
    if not _SEED.fullmatch(seed):
        raise ImageListError(
            f"{where}: seed {seed!r} is not a whole number from 0 on; number the images of a prompt"
        )
    if not prompt.strip():
        raise ImageListError(f"{where}: empty prompt; write the one that the image was made of")
    if not file.strip():
        raise ImageListError(f"{where}: no file; give its path below the folder")
    return Line(where, file, prompt, int(seed), group, labels)


def _geneval_lines(folder: Path) -> Iterator[Line]:
    for path in sorted(folder.glob("*/metadata.jsonl")):
        samples = sorted(path.parent.glob("samples/*"))
        if not samples:
            raise ImageListError(f"{path.parent} has no samples; delete it or make its images")
        prompt = _prompt_of(path)
        for sample in samples:
            name = sample.relative_to(folder).as_posix()
            yield _line(name, name, prompt, sample.stem, "", {})


def _prompt_of(path: Path) -> str:
    try:
        record: Any = json.loads(decode(path, read_bytes(path)))
    except (PromptSetError, ValueError) as error:
        raise ImageListError(
            f"{path}: one JSON record with a 'prompt' is expected ({error})"
        ) from error
    prompt = record.get("prompt") if isinstance(record, dict) else None
    if not isinstance(prompt, str):
        known = record if isinstance(record, dict) else ()
        raise ImageListError(f"{path}: no text 'prompt': {suggest('prompt', known)}")
    return prompt


def _check_distinct(lines: Sequence[Line]) -> None:
    """No file stands for two images."""
    files: dict[str, str] = {}
    for line in lines:
        if (first := files.setdefault(line.file, line.where)) != line.where:
            raise ImageListError(
                f"{line.where}: file {line.file!r} is already in {first}; delete one of them"
            )
