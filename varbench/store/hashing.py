"""SHA-256 of large files, computed once: the result is kept for as long as the file is the same.

A released model is tens of gigabytes, and its fingerprint is asked for by every command. What is
kept is one tiny file per checksum in the user's cache folder, named by the file's path, size,
inode, and times of change; any of them differs once the file is written to or replaced.
"""

from __future__ import annotations

import hashlib
import logging
import os
import re
import tempfile
import time
from pathlib import Path

logger = logging.getLogger(__name__)

SETTLED_NS = 2_000_000_000
"""Age of a file's last change from which its times tell it from a later version; file systems
count in ticks, so of two writes within one the second may leave no trace."""


def kept_folder() -> Path:
    """Where checksums are kept: ``$XDG_CACHE_HOME/varbench/sha256``, ``~/.cache`` by default."""
    base = os.environ.get("XDG_CACHE_HOME") or Path.home() / ".cache"
    return Path(base) / "varbench" / "sha256"


def _identity(path: Path) -> str:
    stat = path.stat()
    parts = (path.resolve(), stat.st_size, stat.st_ino, stat.st_mtime_ns, stat.st_ctime_ns)
    return hashlib.sha256(repr(tuple(map(str, parts))).encode()).hexdigest()


def sha256(path: Path) -> str:
    """Hex SHA-256 of a file's content; read from the cache folder if the file has not changed.

    Raises:
        OSError: the file cannot be read. (A cache that cannot be written to is no error.)
    """
    before = _identity(path)
    kept = kept_folder() / before
    try:
        text = kept.read_text(encoding="ascii")
        if re.fullmatch(r"[0-9a-f]{64}", text):
            return text
    except (OSError, UnicodeDecodeError):
        pass
    logger.info("computing the SHA-256 of %s", path)
    with path.open("rb") as handle:
        digest = hashlib.file_digest(handle, "sha256").hexdigest()
    settled = time.time_ns() - path.stat().st_ctime_ns > SETTLED_NS
    if settled and _identity(path) == before:
        _keep(kept, digest)
    return digest


def _keep(path: Path, text: str) -> None:
    try:
        path.parent.mkdir(parents=True, exist_ok=True)
        with tempfile.NamedTemporaryFile("w", dir=path.parent, delete=False) as handle:
            handle.write(text)
        os.replace(handle.name, path)
    except OSError as error:
        logger.info("checksums cannot be kept in %s: %s", path.parent, error)
