"""Files of work under way, and the processes they belong to."""

from __future__ import annotations

import re
import shutil
import time
from contextlib import suppress
from pathlib import Path

import filelock

from varbench.utils.processes import Owner, is_alive, owned, owner_of

_WRITE = re.compile(r"(?P<key>[0-9a-f]{64})|\.?training-(?P<short>[0-9a-f]{24})(\.pt)?")


def temporary_folder(root: Path, key: str) -> Path:
    """A new path in the store at `root` for this process to write an entry to."""
    return root / "tmp" / owned(key)


def checkpoint_file(root: Path, key: str) -> Path:
    """The path of the checkpoint of a training in progress, by the key of its edit."""
    return root / "tmp" / f"training-{key[:24]}.pt"


def writer_of(root: Path, key: str) -> Owner | None:
    """The process that writes the entry of a key; None if there is no sign of it."""
    names = (path.name for path in (root / "tmp").glob(f"{key}-*"))
    return next((owner for _, owner in filter(None, map(owner_of, names))), None)


def sweep(root: Path) -> list[Path]:
    """Remove what interrupted writes left behind, and return it.

    On this machine the process tells whether a write goes on. The process number of another machine
    says nothing here: what is of one goes if nobody holds the lock of its key and it is a week old,
    since not every file system shares locks. Checkpoints of finished trainings go too.
    """
    removed = []
    for path in sorted((root / "tmp").glob("*")):
        with suppress(OSError):  # finished or swept meanwhile, or someone else's
            if _is_left(root, path):
                shutil.rmtree(path) if path.is_dir() else path.unlink()
                removed.append(path)
    return removed


def _is_left(root: Path, path: Path) -> bool:
    name, owner = owner_of(path.name) or (path.name, None)
    if (write := _WRITE.fullmatch(name)) is None:
        return False  # not ours to delete
    key = write["key"] or write["short"]
    if owner is None:  # a checkpoint, for whoever goes on with the training
        return any((root / "edit" / key[:2]).glob(f"{key}*/manifest.json"))
    if owner.here:
        return not is_alive(owner.pid)
    return time.time() - path.stat().st_mtime > 7 * 86400 and not _is_locked(root, key)


def _is_locked(root: Path, key: str) -> bool:
    for path in (root / "locks").glob(f"*/{key}*.lock"):
        try:
            filelock.FileLock(path).acquire(timeout=0).lock.release()
        except filelock.Timeout:
            return True
    return False
