"""The origin of a result: versions of the libraries, the commit, the device."""

from __future__ import annotations

import hashlib
import os
import platform
import subprocess
from collections.abc import Iterable, Mapping
from functools import cache
from importlib import metadata
from pathlib import Path
from typing import Any

_PACKAGE = Path(__file__).resolve().parents[1]


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


@cache
def commit() -> str | None:
    """The checkout's commit, with ``+dirty`` where files differ; None outside a checkout."""
    root = _PACKAGE.parent
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


@cache
def sources(package: Path) -> str:
    """Hash of a package's Python files, 12 hex digits: dirty checkouts may share a commit."""
    hashed = hashlib.sha256()
    for folder, folders, names in os.walk(package, followlinks=True):
        folders.sort()
        for path in (Path(folder, name) for name in sorted(names) if name.endswith(".py")):
            hashed.update(f"{path.relative_to(package).as_posix()}\n".encode())
            hashed.update(path.read_bytes())
    return hashed.hexdigest()[:12]


def code() -> dict[str, str]:
    """Versions of Python and the libraries, the commit and the sources, of this process."""
    return {**versions(), "commit": commit() or "no checkout", "sources": sources(_PACKAGE)}


def origin(device: str | None) -> dict[str, Any]:
    """Versions, commit and device of this process; None for work that no device decides."""
    return {"versions": versions(), "commit": commit(), "device": device}


def distinct(origins: Iterable[Mapping[str, Any]]) -> dict[str, Any]:
    """Several origins as one, with all values of each field that differ joined by " and "."""
    present = list(origins)
    libraries = {name for each in present for name in each["versions"]}
    versions = {n: _joined(each["versions"].get(n) for each in present) for n in sorted(libraries)}
    commit, device = (_joined(each[field] for each in present) for field in ("commit", "device"))
    return {"versions": versions, "commit": commit or None, "device": device}


def _joined(values: Iterable[str | None]) -> str:
    return " and ".join(sorted({value for value in values if value}))
