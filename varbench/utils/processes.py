"""Processes of this machine: who writes, and whether it still lives."""

from __future__ import annotations

import errno
import hashlib
import os
import socket
from pathlib import Path


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
