"""Provenance of a number besides its config: versions, plugins, commit, device."""

from __future__ import annotations

import platform
import re
import subprocess
from collections.abc import Iterable
from functools import cache
from importlib import metadata
from pathlib import Path
from typing import TYPE_CHECKING

from varbench import metrics
from varbench.data import concept_files, prompt_sets
from varbench.methods import registry as methods
from varbench.models import registry as models
from varbench.utils.plugins import FileKind, ObjectKind

if TYPE_CHECKING:
    from varbench.pipeline.plan import Cell


@cache
def versions() -> dict[str, str]:
    """Installed versions of the libraries that numbers depend on, and Python's."""
    installed = {"python": platform.python_version()}
    for name in (
        "varbench", "torch", "transformers", "clean-fid", "open_clip_torch", "lpips", "nudenet",
        "numpy", "scipy", "pillow",
    ):  # fmt: skip
        try:
            installed[name] = metadata.version(name)
        except metadata.PackageNotFoundError:
            installed[name] = "not installed"
    return installed


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


@cache
def commit() -> str | None:
    """The checkout's commit, with ``+dirty`` where files differ; None outside a checkout."""
    root = Path(__file__).resolve().parents[2]
    if not (root / ".git").exists():
        return None
    try:
        head = _git(root, "rev-parse", "HEAD")
        return head + ("+dirty" if _git(root, "status", "--porcelain") else "")
    except (OSError, subprocess.SubprocessError):
        return None


def _git(root: Path, *args: str) -> str:
    done = subprocess.run(
        ["git", "-C", str(root), *args], capture_output=True, text=True, check=True, timeout=20
    )
    return done.stdout.strip()


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
