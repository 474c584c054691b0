"""The store: finished work on disk, the only state that stages, runs and machines share.

A unit of work is described by a *spec*, a JSON dict with everything that decides its result (input
hashes, resolved config, code version of the stage). Its key is the SHA-256 of the spec::

    root/<stage>/<key[:2]>/<key>/          an entry: payload files, and manifest.json written last
    root/tmp/<key>-<pid>-<host>-<random>/  a write under way, private to its process
    root/locks/                            one file per key, held by whoever does the work
    root/damaged/                          entries that failed a check, kept for inspection

An entry appears by one atomic rename, whole or not at all: running the same command again resumes a
run. What is on disk may still rot: sizes are checked on every read, checksums on the first read in
a process, and an entry that fails is moved aside and reported as missing.
"""

from __future__ import annotations

import errno
import hashlib
import json
import logging
import math
import os
import re
import secrets
import shutil
import socket
import time
from collections.abc import Iterator, Mapping
from contextlib import AbstractContextManager, contextmanager, suppress
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import filelock

SCHEMA = 1
MANIFEST = "manifest.json"
_PIECE = 1 << 18
_STAGE = re.compile(r"(?!(tmp|damaged|locks)$)[a-z][a-z0-9_-]*")
_KEY = re.compile(r"[0-9a-f]{64}")
_TMP = re.compile(r"[0-9a-f]{64}-(?P<pid>\d+)-(?P<host>[0-9a-f]{8})-[0-9a-f]+")
_FULL = {errno.ENOSPC, errno.EDQUOT, errno.EFBIG}
_FORBIDDEN = {errno.EACCES, errno.EPERM, errno.EROFS}
# What an entry with a hole in it, or a failing disk, answers. Any other error (permissions, too
# many open files) says nothing about the entry, so it must not cost the entry its place.
_ROT = {errno.ENOENT, errno.EIO, errno.EISDIR, errno.ENOTDIR}

log = logging.getLogger("varbench.store")


class StoreError(RuntimeError):
    """The store cannot be used as asked; the message names the fix."""


class StoreBusyError(StoreError):
    """Another process held a lock for longer than the caller would wait."""


class _DamagedError(Exception):
    """An entry does not match its manifest; the message starts with the file at fault."""


def canonical_json(obj: object) -> bytes:
    """One byte string per JSON value: sorted keys, no spaces, ASCII, tuples as lists.

    `1` and `1.0` stay different, so specs should come from typed configs, not from raw YAML.
    Raises ValueError for a NaN or infinity, TypeError for what is not JSON; both name the place.
    """
    _require_json(obj, "$")
    return _canonical(obj)


def _canonical(parsed: object) -> bytes:
    """Of what JSON was parsed from, and so needs no check."""
    return json.dumps(parsed, sort_keys=True, separators=(",", ":")).encode("ascii")


def _digest(parsed: object) -> str:
    return hashlib.sha256(_canonical(parsed)).hexdigest()


def digest(obj: object) -> str:
    """SHA-256 of `canonical_json(obj)`, 64 lower-case hex digits."""
    return hashlib.sha256(canonical_json(obj)).hexdigest()


def file_sha256(path: Path) -> str:
    """SHA-256 of a file's bytes, 64 lower-case hex digits, read in pieces. Raises OSError."""
    hashed = hashlib.sha256()
    with path.open("rb", buffering=0) as file:  # hashlib.file_digest takes twice as long: a resumed
        while piece := file.read(_PIECE):  # run reads a hundred thousand images of some KB
            hashed.update(piece)
    return hashed.hexdigest()


@dataclass(frozen=True)
class FileInfo:
    """What the manifest says of one payload file: its size in bytes and its SHA-256."""

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

    def path(self, name: str) -> Path:
        """Where payload file `name` lies. Raises KeyError, listing the files there are."""
        if name not in self.files:
            raise KeyError(f"{self.stage}/{self.key[:8]} has no {name!r}, only {list(self.files)}")
        return self.dir / name

    def json(self, name: str) -> Any:
        """The parsed content of JSON payload file `name`."""
        return json.loads(self.path(name).read_bytes())


@dataclass
class Writer:
    """A write under way: put files (and folders of files) into `dir`, provenance into `meta`."""

    dir: Path
    meta: dict[str, Any] = field(default_factory=dict)
    entry: Entry | None = None  # afterwards: the finished entry, ours or a faster process's


class Store:
    """A content-addressed folder. Creating the object touches nothing, so a report can read a store
    it may not write. It pickles, and threads may share it. Raises StoreError if `root` is a file.
    """

    def __init__(self, root: Path) -> None:
        self.root = Path(root).absolute()  # a later chdir must not move the store
        if self.root.is_file():
            raise StoreError(f"{self.root} is a file: give --store a folder, or a new name")
        self._verified: dict[Path, int] = {}  # entry folder -> its inode when it was checksummed

    def get(self, stage: str, spec: Mapping[str, Any]) -> Entry | None:
        """The finished entry for `spec`, or None if there is none or it turned out damaged.

        Raises StoreError if it was written by a newer varbench or this user may not read it.
        """
        return self.find(stage, digest(spec))

    def find(self, stage: str, key: str, *, verify: bool = True) -> Entry | None:
        """As `get`, by key; `verify=False` checks presence and sizes but reads no payload."""
        folder = self._folder(stage, key)
        try:
            inode = folder.stat().st_ino
            return self._read(folder, stage, inode, verify)
        except _DamagedError as damage:
            self._set_aside(folder, stage, inode, str(damage))
        except FileNotFoundError:
            pass
        except OSError as error:
            raise self._failure(error) from error
        return None

    def entries(self, stage: str, *, verify: bool = True) -> Iterator[Entry]:
        """All finished entries of a stage by key; damaged ones are treated as in `find`.

        `verify=False` is for listings: checksumming a whole pool of images takes minutes.
        """
        for folder in sorted(self._folder(stage).glob(f"??/{'[0-9a-f]' * 64}")):
            if (entry := self.find(stage, folder.name, verify=verify)) is not None:
                yield entry

    @contextmanager
    def write(self, stage: str, spec: Mapping[str, Any]) -> Iterator[Writer]:
        """Collects an entry in a temporary folder and puts it in place on a clean exit.

        After an exception nothing stays. If another process finished the same key first, its entry
        is kept and ours dropped. Raises StoreError if the root is not writable or the disk full
        (also when the body met the full disk); ValueError or TypeError if `spec` (before the body)
        or `meta` (after it) is not JSON.
        """
        spec = json.loads(canonical_json(spec))  # a copy: the body may change its own
        key, body_done = digest(spec), True
        target = self._folder(stage, key)
        tmp = self.root / "tmp" / f"{key}-{os.getpid()}-{_host()}-{secrets.token_hex(4)}"
        try:
            tmp.mkdir(parents=True)  # not mkdtemp: its 0700 locks colleagues out of a shared store
            target.parent.mkdir(parents=True, exist_ok=True)
            writer, body_done = Writer(tmp), False
            yield writer
            body_done = True
            _seal(writer, spec)
            writer.entry = self._publish(tmp, target, stage)
        except OSError as error:
            if body_done or error.errno in _FULL:  # else the body's own affair
                raise self._failure(error) from error
            raise
        finally:
            shutil.rmtree(tmp, ignore_errors=True)

    def lock(
        self, stage: str, spec: Mapping[str, Any], timeout: float | None = None
    ) -> AbstractContextManager[None]:
        """Holds the right to do one unit of work; call `get` again once inside.

        The operating system frees the lock of a process that died. `timeout` in seconds: None waits
        without end, 0 not at all. Raises StoreBusyError if not free in time, StoreError if the root
        is not writable. Lock files stay: removing one would split its waiters.
        """
        path = self.root / "locks" / self._folder(stage).name / f"{digest(spec)}.lock"
        return self._held(path, -1 if timeout is None else timeout)

    def remove(self, entry: Entry) -> None:
        """Take an entry out of the store; whoever reads its files meanwhile sees them vanish.

        Raises StoreError if the root is not writable.
        """
        aside = self.root / "tmp" / f"{entry.key}-{os.getpid()}-{_host()}-{secrets.token_hex(4)}"
        try:
            with self._held(self.root / "locks" / "damaged.lock", -1):
                aside.parent.mkdir(parents=True, exist_ok=True)
                entry.dir.rename(aside)
            shutil.rmtree(aside)
        except FileNotFoundError:
            pass  # somebody else was faster
        except OSError as error:
            raise self._failure(error) from error

    def sweep(self, max_age_days: float = 7.0) -> list[Path]:
        """Removes what interrupted writes left behind; returns the folders removed.

        A folder goes if its process, on this machine, is dead, or if untouched for `max_age_days`:
        a process number means nothing on another machine, so for those age alone decides.
        """
        removed = []
        for folder in sorted((self.root / "tmp").glob("*")):
            if (name := _TMP.fullmatch(folder.name)) is None:
                continue  # not ours to delete
            with suppress(OSError):  # finished or swept meanwhile, or someone else's
                old = time.time() - folder.stat().st_mtime > max_age_days * 86400
                if old or (name["host"] == _host() and not _alive(int(name["pid"]))):
                    shutil.rmtree(folder)
                    removed.append(folder)
        return removed

    def _folder(self, stage: str, key: str | None = None) -> Path:
        if not _STAGE.fullmatch(stage):
            raise ValueError(f"{stage!r} cannot name a stage: use a-z, 0-9, - and _")
        if key is not None and not _KEY.fullmatch(key):
            raise ValueError(f"{key!r} is not a key: 64 lower-case hex digits")
        return self.root / stage / key[:2] / key if key else self.root / stage

    def _read(self, folder: Path, stage: str, inode: int, verify: bool) -> Entry:
        verify = verify and self._verified.get(folder) != inode  # a redone entry is a new folder
        path = folder / MANIFEST
        try:
            manifest = json.loads(path.read_bytes())
            if (schema := manifest["schema"]) > SCHEMA:
                newer = f"written by a newer varbench (schema {schema}, here {SCHEMA})"
                raise StoreError(f"{path}: {newer}; upgrade or use another --store")
            intact = manifest.pop("digest") == _digest(manifest)  # rot may hit the manifest too
            if not intact or _digest(manifest["spec"]) != folder.name:
                raise _DamagedError(f"{path}: content does not match its checksum")
            files = {name: FileInfo(**info) for name, info in manifest["files"].items()}
            for name, info in files.items():
                path = folder / name
                if (size := path.stat().st_size) != info.size:
                    raise _DamagedError(f"{path}: {size} bytes instead of {info.size}")
                if verify and file_sha256(path) != info.sha256:
                    raise _DamagedError(f"{path}: checksum differs")
        except (ValueError, KeyError, TypeError, AttributeError) as error:
            raise _DamagedError(f"{path}: not a manifest ({error})") from error
        except OSError as error:
            if error.errno in _ROT:
                raise _DamagedError(f"{path}: {error.strerror}") from error
            raise
        if verify:
            self._verified[folder] = inode
        return Entry(stage, folder.name, folder, manifest["spec"], manifest["meta"], files)

    def _set_aside(self, folder: Path, stage: str, inode: int, reason: str) -> None:
        """Moves a damaged entry out of the way, unless it is no longer the one that was read."""
        aside = self.root / "damaged" / f"{stage}-{folder.name}-{secrets.token_hex(4)}"
        try:
            # The lock makes check and move one step; without it the good entry that another process
            # just put in the damaged one's place could be moved away.
            with self._held(self.root / "locks" / "damaged.lock", -1):
                if folder.stat().st_ino == inode:
                    aside.parent.mkdir(parents=True, exist_ok=True)
                    folder.rename(aside)
                    log.warning("damaged: %s; moved to %s, will be made again", reason, aside)
        except FileNotFoundError:
            pass  # another process met the same damage and was faster
        except (OSError, StoreError) as error:  # a reader without write permission
            log.warning("damaged: %s; not used, but could not be moved aside: %s", reason, error)

    def _publish(self, tmp: Path, target: Path, stage: str) -> Entry:
        while True:
            try:
                tmp.rename(target)
                break
            except OSError as error:
                if error.errno not in {errno.ENOTEMPTY, errno.EEXIST}:
                    raise
                # Someone was faster. `find` returns a good entry and moves a bad one out of our way
                if (theirs := self.find(stage, target.name)) is not None:
                    return theirs
                if target.exists():
                    raise
        _fsync(target.parent)
        inode = self._verified[target] = target.stat().st_ino  # hashed a moment ago
        return self._read(target, stage, inode, verify=False)

    @contextmanager
    def _held(self, path: Path, timeout: float) -> Iterator[None]:
        lock = filelock.FileLock(path)
        try:
            path.parent.mkdir(parents=True, exist_ok=True)
            lock.acquire(timeout=timeout)
        except filelock.Timeout as error:
            busy = f"{path} is held by another process for over {timeout:g} s"
            raise StoreBusyError(f"{busy}: wait for it or stop it, then run again") from error
        except OSError as error:
            raise self._failure(error) from error
        try:
            yield
        finally:
            lock.release()

    def _failure(self, error: OSError) -> StoreError:
        fix = "check that path, or use another --store"
        if error.errno in _FULL:
            fix = "disk full: free space, or use --store on another disk; finished work is kept"
        elif error.errno in _FORBIDDEN:
            fix = "no permission: change it, or give --store a folder of yours"
        return StoreError(f"store {self.root}: {fix} ({error})")


def _seal(writer: Writer, spec: Mapping[str, Any]) -> None:
    """Hashes the payload, writes the manifest as the last file, and flushes all of it to disk."""
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
        _fsync(path)


def _fsync(path: Path) -> None:
    """Flushes a file or folder, so that a power cut cannot leave a name without its bytes."""
    if os.name != "nt":  # no folder handles there; checksums catch what a power cut leaves
        fd = os.open(path, os.O_RDONLY)
        try:
            os.fsync(fd)
        finally:
            os.close(fd)


def _require_json(obj: object, where: str) -> None:
    if isinstance(obj, dict):
        for key, value in obj.items():
            if not isinstance(key, str):  # json.dumps would make 1 and "1" the same key
                raise TypeError(f"{where}: key {key!r} is not a string")
            _require_json(value, f"{where}.{key}")
    elif isinstance(obj, list | tuple):
        for index, value in enumerate(obj):
            _require_json(value, f"{where}[{index}]")
    elif isinstance(obj, float) and not math.isfinite(obj):
        raise ValueError(f"{where}: {obj} has no place in JSON; use None or leave it out")
    elif not isinstance(obj, str | int | float | None):
        raise TypeError(f"{where}: {type(obj).__name__} is not JSON; convert it first")


def _host() -> str:
    """Names the machine and its process number space (containers share a machine), 8 hex digits."""
    space = Path("/proc/self/ns/pid").resolve().name  # such as "pid:[4026531836]"
    return hashlib.sha256(f"{socket.gethostname()} {space}".encode()).hexdigest()[:8]


def _alive(pid: int) -> bool:
    if os.name == "nt":
        return True  # os.kill would end the process there; age decides
    try:
        os.kill(pid, 0)
    except OSError as error:
        return error.errno != errno.ESRCH  # EPERM: alive, and someone else's
    return True
