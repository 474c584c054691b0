"""Atomic file writes, and the folders that come with the package."""

from __future__ import annotations

import os
import secrets
from collections.abc import Iterator
from contextlib import contextmanager
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


@contextmanager
def whole_file(path: Path, *, flush: bool = False) -> Iterator[Path]:
    """A draft to write, which takes the place of `path` by one rename if the block succeeds.

    Args:
        flush: put the draft's bytes on disk before the rename.
    """
    draft = path.with_name(f".{path.name}.{os.getpid()}-{secrets.token_hex(4)}")
    try:
        yield draft
        if flush:
            fsync(draft)
        draft.replace(path)
    finally:
        draft.unlink(missing_ok=True)


def write_whole(path: Path, text: str, *, flush: bool = False) -> None:
    """Write `text` as UTF-8 in place of `path`, as `whole_file`. Raises OSError."""
    with whole_file(path, flush=flush) as draft:
        # A name may hold what UTF-8 cannot (a lone surrogate, from JSON); spelled out then.
        draft.write_bytes(text.encode("utf-8", "backslashreplace"))


def fsync(path: Path) -> None:
    """Flush a file or folder, so that a power cut cannot leave a name without its bytes."""
    if os.name != "nt":  # no folder handles there; checksums catch what a power cut leaves
        fd = os.open(path, os.O_RDONLY)
        try:
            os.fsync(fd)
        finally:
            os.close(fd)
