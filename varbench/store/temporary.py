"""Folders of writes under way, and the processes they belong to."""

from __future__ import annotations

import errno
import hashlib
import os
import re
import secrets
import shutil
import socket
import time
from contextlib import suppress
from pathlib import Path

_NAME = re.compile(r"[0-9a-f]{64}-(?P<pid>\d+)-(?P<host>[0-9a-f]{8})-[0-9a-f]+")


def temporary_folder(root: Path, key: str) -> Path:
    """A new path in the store at `root` for this process to write an entry to."""
    return root / "tmp" / f"{key}-{os.getpid()}-{machine_id()}-{secrets.token_hex(4)}"


def sweep(root: Path) -> list[Path]:
    """Remove the folders that interrupted writes left behind, and return them.

    A folder goes if its process, on this machine, is dead, or if it is untouched for a week: a
    process number means nothing on another machine, so for those age alone decides.
    """
    removed = []
    for folder in sorted((root / "tmp").glob("*")):
        if (name := _NAME.fullmatch(folder.name)) is None:
            continue  # not ours to delete
        with suppress(OSError):  # finished or swept meanwhile, or someone else's
            old = time.time() - folder.stat().st_mtime > 7 * 86400
            if old or (name["host"] == machine_id() and not is_alive(int(name["pid"]))):
                shutil.rmtree(folder)
                removed.append(folder)
    return removed


def machine_id() -> str:
    """The machine and its process number space (containers share a machine), 8 hex digits."""
    space = Path("/proc/self/ns/pid").resolve().name  # such as "pid:[4026531836]"
    return hashlib.sha256(f"{socket.gethostname()} {space}".encode()).hexdigest()[:8]


def is_alive(pid: int) -> bool:
    """True if this machine has a process of that number, or the system cannot tell (Windows)."""
    if os.name == "nt":
        return True  # os.kill would end the process there
    try:
        os.kill(pid, 0)
    except OSError as error:
        return error.errno != errno.ESRCH  # EPERM: alive, and of another user
    return True
