"""Atomic file writes, and the folders that come with the package."""

from __future__ import annotations

import os
import secrets
from pathlib import Path

_PACKAGE = Path(__file__).resolve().parents[1]


def packaged(folder: str) -> Path:
    """A folder of the installed package, such as ``conf``, ``prompts`` or ``results``.

    In a checkout ``baselines``, ``prompts`` and ``results`` are links to the folders at the top of
    the repository; a wheel holds the folders.

    Raises:
        FileNotFoundError: the installation is incomplete.
    """
    path = _PACKAGE / folder
    if not path.is_dir():
        raise FileNotFoundError(f"no folder {path}; reinstall varbench")
    return path


def write_whole(path: Path, text: str) -> None:
    """Write `text` as UTF-8 in place of `path`, by one rename. Raises OSError."""
    draft = path.with_name(f".{path.name}.{os.getpid()}-{secrets.token_hex(4)}")
    try:
        # A name may hold what UTF-8 cannot (a lone surrogate, from JSON); spelled out then.
        draft.write_bytes(text.encode("utf-8", "backslashreplace"))
        draft.replace(path)
    finally:
        draft.unlink(missing_ok=True)
