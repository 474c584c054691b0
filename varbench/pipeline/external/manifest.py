"""Manifests of external images: which file shows which prompt and seed.

A folder has a manifest, a UTF-8 CSV file with the columns `file`, `prompt`, `seed` and perhaps
`group`; other columns are labels of the prompts. Or it is laid out as GenEval lays out images:
`00000/metadata.jsonl`, whose record has the `prompt`, beside `00000/samples/0000.png`, whose number
is the seed. Manifests are read strictly: anything odd is an error that names file and line.
"""

from __future__ import annotations

import hashlib
import json
import re
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from varbench.data.csv_rows import check_header, read_csv
from varbench.errors import UserError, suggest
from varbench.utils.files import decode, read_bytes

MANIFEST_FILE = "manifest.csv"
REQUIRED = ("file", "prompt", "seed")


@dataclass(frozen=True)
class ManifestRow:
    """One image of a manifest.

    Attributes:
        location: manifest and line, for messages.
        file: path below the folder, with forward slashes.
        prompt: text, as written.
        seed: at least 0.
        group: prompt group, "" if not given.
        labels: other columns.
    """

    location: str
    file: str
    prompt: str
    seed: int
    group: str
    labels: Mapping[str, str]


def read_manifest(folder: Path, manifest: Path | None = None) -> tuple[list[ManifestRow], str]:
    """Read the manifest of a folder.

    Args:
        folder: with the images, and `manifest.csv` or GenEval's layout.
        manifest: a manifest elsewhere; its paths are below `folder` all the same.

    Returns:
        Its rows, one per image, and the SHA-256 of its content.

    Raises:
        UserError: there is none, or it is malformed.
    """
    if not folder.is_dir():
        raise UserError(f"there is no folder {folder}; check the path")
    path = manifest or folder / MANIFEST_FILE
    if manifest is not None or path.is_file():
        data = read_bytes(path, UserError)
        rows = list(_csv_rows(path, data))
        digest = hashlib.sha256(data).hexdigest()
    else:
        rows = list(_geneval_rows(folder))
        content = [[row.file, row.prompt, row.seed] for row in rows]
        digest = hashlib.sha256(json.dumps(content).encode()).hexdigest()
        if not rows:
            raise UserError(
                f"{folder} has no {MANIFEST_FILE} (columns {', '.join(REQUIRED)} and perhaps "
                "group) and no 00000/metadata.jsonl; write a list, or name one with --manifest"
            )
    return rows, digest


def _csv_rows(path: Path, data: bytes) -> Iterator[ManifestRow]:
    header, numbered = read_csv(path, data, UserError)
    for name in REQUIRED:
        if name not in header:
            columns = ", ".join(map(repr, header)) or "no header"
            raise UserError(
                f"{path}:1: no column {name!r}; a list has the columns {', '.join(REQUIRED)} and "
                f"perhaps group, this one has {columns}"
            )
    check_header(path, header, UserError)
    count = 0
    for line, cells in numbered:
        file, prompt, seed = (cells.pop(name) for name in REQUIRED)
        group = cells.pop("group", "")
        yield _row(f"{path}:{line}", file, prompt, seed, group, cells)
        count += 1
    if not count:
        raise UserError(
            f"{path}:1: no images below the header; save the list as UTF-8 text with one row per "
            "image"
        )


def _row(
    location: str, file: str, prompt: str, seed: str, group: str, labels: Mapping[str, str]
) -> ManifestRow:
    if not re.fullmatch(r"\d{1,18}", seed):
        raise UserError(
            f"{location}: seed {seed!r} is not a whole number from 0 on; "
            "number the images of a prompt"
        )
    if not prompt.strip():
        raise UserError(f"{location}: empty prompt; write the one that the image was made of")
    if not file.strip():
        raise UserError(f"{location}: no file; give its path below the folder")
    return ManifestRow(location, file, prompt, int(seed), group, labels)


def _geneval_rows(folder: Path) -> Iterator[ManifestRow]:
    for path in sorted(folder.glob("*/metadata.jsonl")):
        samples = sorted(path.parent.glob("samples/*"))
        if not samples:
            raise UserError(f"{path.parent} has no samples; delete it or make its images")
        prompt = _prompt_of(path)
        for sample in samples:
            name = sample.relative_to(folder).as_posix()
            yield _row(name, name, prompt, sample.stem, "", {})


def _prompt_of(path: Path) -> str:
    try:
        record: Any = json.loads(decode(path, read_bytes(path, UserError), UserError))
    except (UserError, ValueError, RecursionError) as error:
        raise UserError(f"{path}: one JSON record with a 'prompt' is expected ({error})") from error
    prompt = record.get("prompt") if isinstance(record, dict) else None
    if not isinstance(prompt, str):
        known = record if isinstance(record, dict) else ()
        raise UserError(f"{path}: no text 'prompt': {suggest('prompt', known)}")
    return prompt
