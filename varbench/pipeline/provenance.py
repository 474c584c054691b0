"""Provenance of a number besides its config: versions, plugins, commit, device."""

from __future__ import annotations

import platform
import re
from collections.abc import Iterable
from functools import cache
from pathlib import Path
from typing import TYPE_CHECKING

from varbench import metrics
from varbench.data import concept_files, prompt_sets
from varbench.methods import registry as methods
from varbench.models import registry as models
from varbench.utils.plugins import FileKind, ObjectKind

if TYPE_CHECKING:
    from varbench.pipeline.plan import Cell


def plugins(cell: Cell) -> dict[str, dict[str, str]]:
    """Distribution and version of the plugins in use: entry-point group -> name -> origin."""
    concepts = (cell.concept, *cell.erased.concepts)
    parts: tuple[tuple[FileKind | ObjectKind, Iterable[str]], ...] = (
        (methods.PLUGINS, [cell.method]),
        (models.PLUGINS, [cell.config.model.name]),
        (metrics.PLUGINS, metrics.METRICS),
        (concept_files.KIND, [tested.name for tested in concepts]),
        (prompt_sets.KIND, [name for tested in concepts for name in tested.sets]),
    )
    origins: dict[str, dict[str, str]] = {}
    for kind, names in parts:
        for name in names:
            if origin := kind.origin(name):
                origins.setdefault(kind.group, {})[name] = origin
    return origins


def device_name(device: str) -> str:
    """The device, as far as rounding depends on it.

    The GPU's name; or the processor's, its widest vector instructions and the number of threads, as
    sums are split over threads.
    """
    import torch

    if device.startswith("cuda"):
        return torch.cuda.get_device_name(device)
    threads = torch.get_num_threads()
    counted = f"{threads} thread" + ("s" if threads > 1 else "")
    return ", ".join((_processor(), torch.backends.cpu.get_cpu_capability(), counted))


@cache
def _processor() -> str:
    try:
        cpuinfo = Path("/proc/cpuinfo").read_text(encoding="utf-8", errors="replace")
    except OSError:  # not Linux
        cpuinfo = ""
    names = re.search(r"^model name\s*:\s*(.+?)\s*$", cpuinfo, re.MULTILINE)
    return names[1] if names else platform.processor() or platform.machine()
