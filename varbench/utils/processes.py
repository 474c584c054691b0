"""Names that tell which process of which machine a file belongs to, and whether it still lives."""

from __future__ import annotations

import errno
import hashlib
import os
import re
import secrets
import socket
from pathlib import Path
from typing import NamedTuple

_OWNED = re.compile(r"(?P<name>.+)-(?P<pid>\d+)-(?P<host>[0-9a-f]{8})-[0-9a-f]+")


class Owner(NamedTuple):
    """The process that a file belongs to; `here` if it is, or was, of this machine."""

    pid: int
    here: bool

    def __str__(self) -> str:
        return f"process {self.pid}" if self.here else "a process of another machine"


def owned(name: str) -> str:
    """A new name for a file or folder of this process."""
    return f"{name}-{os.getpid()}-{machine_id()}-{secrets.token_hex(4)}"


def owner_of(name: str) -> tuple[str, Owner] | None:
    """The name that `owned` was given, and the process; None of another name."""
    if (match := _OWNED.fullmatch(name)) is None:
        return None
    return match["name"], Owner(int(match["pid"]), match["host"] == machine_id())


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
    except OverflowError:
        return False  # no number of a process
    except OSError as error:
        return error.errno != errno.ESRCH  # EPERM: alive, and of another user
    return True
