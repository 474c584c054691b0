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
import json
import logging
import re
import secrets
import shutil
from collections.abc import Iterator, Mapping
from contextlib import AbstractContextManager, contextmanager
from pathlib import Path
from typing import Any

import filelock

from varbench.store.entry import (
    DamagedError,
    Entry,
    NoEntryNameError,
    StoreError,
    Writer,
    disk_error,
    full_disk,
    read_entry,
    seal,
)
from varbench.store.hashing import canonical_json, digest
from varbench.store.temporary import temporary_folder, writer_of
from varbench.utils.files import expanded, fsync

_STAGE = re.compile(r"(?!(tmp|damaged|locks)$)[a-z][a-z0-9_-]*")
_KEY = re.compile(r"[0-9a-f]{64}")
PATIENCE_S = 5.0
"""Time after which a process that waits for another says so."""

log = logging.getLogger("varbench.store")


class Store:
    """A content-addressed folder. Creating the object touches nothing, so a report can read a store
    it may not write. It pickles, and threads may share it. Raises StoreError if `root` is a file.
    """

    def __init__(self, root: Path) -> None:
        self.root = expanded(root).absolute()  # a later chdir must not move the store
        if self.root.is_file():
            raise StoreError(f"{self.root} is a file: give --store a folder, or a new name")
        self._verified: dict[Path, int] = {}  # entry folder -> its inode when it was checksummed

    def get(self, stage: str, spec: Mapping[str, Any]) -> Entry | None:
        """The finished entry for `spec`; None if there is none, or it is damaged.

        Raises StoreError if it was written by a newer varbench or this user may not read it.
        """
        return self.find(stage, digest(spec))

    def find(self, stage: str, key: str, *, verify: bool = True) -> Entry | None:
        """As `get`, by key; `verify=False` checks presence and sizes but reads no payload."""
        folder = self._folder(stage, key)
        try:
            inode = folder.stat().st_ino
            verify = verify and self._verified.get(folder) != inode  # made again: a new folder
            entry = read_entry(folder, stage, verify=verify)
            if verify:
                self._verified[folder] = inode
            return entry
        except DamagedError as damage:
            self._set_aside(folder, stage, inode, str(damage))
        except FileNotFoundError:
            pass
        except OSError as error:
            raise disk_error(self.root, error) from error
        return None

    def entries(self, stage: str, *, verify: bool = True) -> Iterator[Entry]:
        """All finished entries of a stage by key; damaged ones are treated as in `find`.

        `verify=False` is for listings: checksumming a whole pool of images takes minutes.
        """
        for folder in sorted(self._folder(stage).glob(f"??/{'[0-9a-f]' * 64}")):
            if (entry := self.find(stage, folder.name, verify=verify)) is not None:
                yield entry

    def lost(self, stage: str) -> list[Path]:
        """The folders of damaged entries that were set aside and not made again since."""
        folders = (self.root / "damaged").glob(f"{stage}-{'[0-9a-f]' * 64}-*")
        return [f for f in sorted(folders) if not self._folder(stage, f.name[-73:-9]).exists()]

    @contextmanager
    def write(self, stage: str, spec: Mapping[str, Any]) -> Iterator[Writer]:
        """Collect an entry in a temporary folder and put it in place on a clean exit.

        After an exception nothing stays. If another process finished the same key first, its entry
        is kept and ours dropped. Raises StoreError if the root is not writable or the disk full
        (also when the body met the full disk); ValueError or TypeError if `spec` (before the body)
        or `meta` (after it) is not JSON.
        """
        spec = json.loads(canonical_json(spec))  # a copy: the body may change its own
        key, body_done = digest(spec), True
        target = self._folder(stage, key)
        tmp = temporary_folder(self.root, key)
        try:
            tmp.mkdir(parents=True)  # not mkdtemp: its 0700 locks colleagues out of a shared store
            target.parent.mkdir(parents=True, exist_ok=True)
            writer, body_done = Writer(tmp), False
            yield writer
            body_done = True
            seal(writer, spec)
            writer.entry = self._publish(tmp, target, stage)
            if writer.scratch is not None:
                writer.scratch.unlink(missing_ok=True)
        except Exception as error:
            if (full := full_disk(error)) is not None:
                raise disk_error(self.root, full) from error
            if body_done and isinstance(error, OSError):  # else the body's own affair
                raise disk_error(self.root, error) from error
            raise
        finally:
            shutil.rmtree(tmp, ignore_errors=True)

    def lock(self, stage: str, spec: Mapping[str, Any]) -> AbstractContextManager[None]:
        """Wait for the right to do one unit of work; call `get` again once inside.

        The operating system frees the lock of a process that died. Lock files stay: removing one
        would split its waiters. Raises StoreError if the root is not writable.
        """
        return self._held(f"{self._folder(stage).name}/{digest(spec)}")

    def remove(self, entry: Entry) -> None:
        """Remove an entry; a process that is reading its files sees them vanish.

        Raises StoreError if the root is not writable.
        """
        aside = temporary_folder(self.root, entry.key)
        try:
            with self._held("damaged"):
                aside.parent.mkdir(parents=True, exist_ok=True)
                entry.dir.rename(aside)
            shutil.rmtree(aside)
        except FileNotFoundError:
            pass  # another process was faster
        except OSError as error:
            raise disk_error(self.root, error) from error

    def _folder(self, stage: str, key: str | None = None) -> Path:
        if not _STAGE.fullmatch(stage):
            raise NoEntryNameError(f"{stage!r} cannot name a stage: use a-z, 0-9, - and _")
        if key is not None and not _KEY.fullmatch(key):
            raise NoEntryNameError(f"{key!r} is not a key: 64 lower-case hex digits")
        return self.root / stage / key[:2] / key if key else self.root / stage

    def _set_aside(self, folder: Path, stage: str, inode: int, reason: str) -> None:
        """Move a damaged entry out of the way, unless it is no longer the one that was read."""
        aside = self.root / "damaged" / f"{stage}-{folder.name}-{secrets.token_hex(4)}"
        try:
            # The lock makes check and move one step; without it the good entry that another process
            # just put in the damaged one's place could be moved away.
            with self._held("damaged"):
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
        fsync(target.parent)
        self._verified[target] = target.stat().st_ino  # hashed a moment ago
        return read_entry(target, stage, verify=False)

    @contextmanager
    def _held(self, name: str) -> Iterator[None]:
        path = self.root / "locks" / f"{name}.lock"
        lock = filelock.FileLock(path)
        try:
            path.parent.mkdir(parents=True, exist_ok=True)
            try:
                lock.acquire(timeout=PATIENCE_S)
            except filelock.Timeout:
                owner = writer_of(self.root, path.stem) or "another process"
                log.warning(
                    "waiting for %s, which works on %s; if it hangs, end it, and this one goes on",
                    owner, name,
                )  # fmt: skip
                lock.acquire()
        except OSError as error:
            raise disk_error(self.root, error) from error
        try:
            yield
        finally:
            lock.release()
