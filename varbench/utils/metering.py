"""Cost of a piece of work: seconds and peak memory.

On CUDA the peak is the device's allocated bytes, weights included. On the CPU it is the process's
resident set: everything that is loaded and what earlier work left behind, so compare only runs that
did the same before. Where the system cannot start that count anew (not Linux) there is no figure.
"""

from __future__ import annotations

import re
import time
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path

import torch

_STATUS, _RESET = Path("/proc/self/status"), Path("/proc/self/clear_refs")


@dataclass
class Cost:
    """Filled when the work is done.

    Attributes:
        seconds: by the clock.
        memory: bytes at the peak, or None where it cannot be told.
    """

    seconds: float = 0.0
    memory: int | None = None


@contextmanager
def metered(device: str) -> Iterator[Cost]:
    """Measure the work of the ``with`` block, which computes on ``device``."""
    cost, on_cuda = Cost(), device.startswith("cuda")
    if on_cuda:
        torch.cuda.reset_peak_memory_stats(device)
    counted = on_cuda or _restart_resident_peak()
    began = time.monotonic()
    yield cost
    if on_cuda:
        torch.cuda.synchronize(device)
    cost.seconds = time.monotonic() - began
    if counted:
        cost.memory = torch.cuda.max_memory_allocated(device) if on_cuda else _resident_peak()


def _restart_resident_peak() -> bool:
    """Start the count of the largest resident set anew (Linux: proc(5), clear_refs)."""
    try:
        _RESET.write_text("5")
    except OSError:
        return False
    return _resident_peak() is not None


def _resident_peak() -> int | None:
    try:
        found = re.search(r"^VmHWM:\s+(\d+) kB$", _STATUS.read_text(), re.MULTILINE)
    except OSError:
        return None
    return int(found[1]) * 1024 if found else None
