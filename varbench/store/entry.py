"""One entry of the store: payload files and the manifest that describes them."""

from __future__ import annotations

import errno
import json
import stat
from collections.abc import Callable, Iterable, Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass, field
from enum import StrEnum
from pathlib import Path, PurePosixPath
from typing import Any

import numpy as np

from varbench.errors import machine_failed
from varbench.store.hashing import digest, file_sha256, parsed_digest
from varbench.utils.files import fsync

SCHEMA = 1
INPUTS = "inputs"
"""Key of ``Entry.meta`` for the content digests of what the entry was computed from, by name."""
MANIFEST = "manifest.json"
_DISK_FULL = {errno.ENOSPC, errno.EDQUOT, errno.EFBIG}
_FORBIDDEN = {errno.EACCES, errno.EPERM, errno.EROFS}
# What an entry with a hole in it, or a failing disk, answers. Any other error (permissions, too
# many open files) says nothing about the entry, so it must not cost the entry its place.
_ROT = {errno.ENOENT, errno.EIO, errno.EISDIR, errno.ENOTDIR}


class Stage(StrEnum):
    """The stages, in the order of a run: folders of the store, and parts of keys; never change."""

    EDIT = "edit"
    IMAGES = "pictures"
    ROLLOUTS = "rollouts"
    PROBE = "probe"
    ATTACK = "attack"
    COMPLETIONS = "completions"
    ATTACKED = "attacked"
    REFERENCE = "reference"
    SCORES = "scores"
    COMPARE = "compare"
    CELL = "cell"
    ABLATION = "ablation"
    TEXT = "text"


class StoreError(RuntimeError):
    """The store cannot be used; the message names the fix."""


class NoEntryNameError(StoreError, ValueError):
    """A stage or key that no entry has; a file that varbench did not write may name it."""


class DamagedError(Exception):
    """An entry does not match its manifest; the message starts with the file at fault."""


def full_disk(error: BaseException) -> OSError | None:
    """The error of a full disk that `error` is or hides: libraries raise their own after it."""
    cause: BaseException | None = error
    while cause is not None and not (isinstance(cause, OSError) and cause.errno in _DISK_FULL):
        cause = cause.__cause__ or cause.__context__
    return cause


def disk_error(root: Path, error: OSError) -> StoreError:
    """The error of the store at `root` for one of the operating system."""
    fix = "check that path, or use another --store"
    if error.errno in _DISK_FULL:
        fix = "disk full: free space, or use --store on another disk; finished work is kept"
    elif error.errno in _FORBIDDEN:
        fix = "no permission: change it, or give --store a folder of yours"
    return StoreError(f"store {root}: {fix} ({error})")


@dataclass(frozen=True)
class FileInfo:
    """One payload file in the manifest: its size in bytes and its SHA-256."""

    size: int
    sha256: str


@dataclass(frozen=True)
class Entry:
    """One finished unit of work. Read-only: its files belong to everybody who has the store."""

    stage: str
    key: str
    dir: Path
    spec: Mapping[str, Any]
    meta: Mapping[str, Any]
    files: Mapping[str, FileInfo]  # by name relative to `dir`, with forward slashes

    @property
    def name(self) -> str:
        """Stage and key, as other entries and cells name it."""
        return f"{self.stage}/{self.key}"

    @property
    def content(self) -> str:
        """Digest of the payload: equal for equal files, whatever was computed when and where."""
        return parsed_digest({name: info.sha256 for name, info in self.files.items()})

    def computed_from(self, inputs: Iterable[Entry], read: Mapping[str, str] = {}) -> bool:
        """True if the entry was computed from what these entries, and all else read, have now."""
        now = {entry.name: entry.content for entry in inputs} | dict(read)
        return bool(now.items() <= self.meta.get(INPUTS, {}).items())

    def path(self, name: str) -> Path:
        """The path of payload file `name`. Raises KeyError, listing the files."""
        if name not in self.files:
            raise KeyError(f"{self.stage}/{self.key[:8]} has no {name!r}, only {list(self.files)}")
        return self.dir / name

    def json(self, name: str) -> Any:
        """The parsed content of JSON payload file `name`. Raises StoreError if it is no JSON."""
        with self._reading(name) as path:
            return json.loads(path.read_bytes())

    def json_lines(self, name: str) -> list[Any]:
        """The parsed lines of payload file `name`. Raises StoreError if they are no JSON."""
        with self._reading(name) as path:
            return [json.loads(line) for line in path.read_text().splitlines()]

    def arrays(self, name: str, keep: Callable[[str], bool] = lambda array: True) -> dict[str, Any]:
        """The arrays to keep of payload file `name`. Raises StoreError if it holds none."""
        with self._reading(name) as path, np.load(path, allow_pickle=False) as arrays:
            return {array: arrays[array] for array in arrays.files if keep(array)}

    @contextmanager
    def _reading(self, name: str) -> Iterator[Path]:
        path = self.path(name)
        try:
            yield path
        except Exception as error:  # a hostile file provokes a dozen kinds
            if machine_failed(error):
                raise
            fix = "was not written by varbench; remove its folder and run the same command again"
            raise StoreError(f"{path}: {fix} ({type(error).__name__}: {error})") from error


@dataclass
class Writer:
    """A write under way: put files (and folders of files) into `dir`, provenance into `meta`."""

    dir: Path
    meta: dict[str, Any] = field(default_factory=dict)
    entry: Entry | None = None  # afterwards: the finished entry, ours or a faster process's
    scratch: Path | None = None  # a file to remove once the entry is stored


def read_entry(folder: Path, stage: str, *, verify: bool) -> Entry:
    """The entry in a folder, with its sizes checked, and checksums if `verify`.

    Raises:
        DamagedError: a file does not match the manifest, or is missing.
        StoreError: it was written by a newer varbench.
        OSError: it cannot be read for another reason.
    """
    path = folder / MANIFEST
    try:
        manifest = json.loads(path.read_bytes())
        if (schema := manifest["schema"]) > SCHEMA:
            newer = f"written by a newer varbench (schema {schema}, here {SCHEMA})"
            raise StoreError(f"{path}: {newer}; upgrade or use another --store")
        intact = manifest.pop("digest") == parsed_digest(manifest)  # rot may hit the manifest too
        if not intact or parsed_digest(manifest["spec"]) != folder.name:
            raise DamagedError(f"{path}: content does not match its checksum")
        files = {name: FileInfo(**info) for name, info in manifest["files"].items()}
        if not all(isinstance(manifest[part], dict) for part in ("spec", "meta")):
            raise DamagedError(f"{path}: not a manifest")
        for name, info in files.items():
            parts, path = PurePosixPath(name), folder / name
            if parts.is_absolute() or ".." in parts.parts or "\\" in name:
                raise DamagedError(f"{folder / MANIFEST}: {name!r} is no file of the entry")
            status = path.lstat()
            if not stat.S_ISREG(status.st_mode) or (
                len(parts.parts) > 1 and not path.resolve().is_relative_to(folder.resolve())
            ):
                raise DamagedError(f"{path}: a link or a folder instead of a file")
            if (size := status.st_size) != info.size:
                raise DamagedError(f"{path}: {size} bytes instead of {info.size}")
            if verify and file_sha256(path) != info.sha256:
                raise DamagedError(f"{path}: checksum differs")
    except (ValueError, KeyError, TypeError, AttributeError, RecursionError) as error:
        raise DamagedError(f"{path}: not a manifest ({error})") from error
    except OSError as error:
        if error.errno in _ROT:
            raise DamagedError(f"{path}: {error.strerror}") from error
        raise
    return Entry(stage, folder.name, folder, manifest["spec"], manifest["meta"], files)


def seal(writer: Writer, spec: Mapping[str, Any]) -> None:
    """Hash the payload, write the manifest as the last file, and flush all of it to disk."""
    files: dict[str, dict[str, Any]] = {}
    paths = sorted(writer.dir.rglob("*"))
    for path in paths:
        name = path.relative_to(writer.dir).as_posix()
        if path.is_symlink() or name == MANIFEST:
            raise ValueError(f"{name}: links and {MANIFEST} cannot be stored; write plain files")
        if path.is_file():
            files[name] = {"size": path.stat().st_size, "sha256": file_sha256(path)}
    body = {"schema": SCHEMA, "spec": spec, "files": files, "meta": writer.meta}
    text = json.dumps({**body, "digest": digest(body)}, indent=1, sort_keys=True)
    (writer.dir / MANIFEST).write_text(text + "\n", encoding="ascii")
    for path in (*paths, writer.dir / MANIFEST, writer.dir):
        fsync(path)
