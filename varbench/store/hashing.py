"""Hashes: of JSON values, of files, and of large files with the result cached.

A released model is tens of gigabytes, and every command needs its fingerprint: `cached_file_sha256`
keeps one tiny file per checksum in the user's cache folder, named by the file's path, size, inode
and times of change, of which any differs once the file is written to or replaced.
"""

from __future__ import annotations

import hashlib
import json
import logging
import math
import os
import re
import time
from pathlib import Path

from varbench.utils.files import home, write_whole

log = logging.getLogger("varbench.store.hashing")

SETTLED_NS = 2_000_000_000
"""Age of a file's last change from which its times tell it from a later version; file systems
count in ticks, so of two writes within one the second may leave no trace."""


def canonical_json(obj: object) -> bytes:
    """One byte string per JSON value: sorted keys, no spaces, ASCII, tuples as lists.

    `1` and `1.0` stay different, so specs should come from typed configs, not from raw YAML.
    Raises ValueError for a NaN or infinity, TypeError for what is not JSON; both name the place.
    """
    _require_json(obj, "$")
    return _canonical(obj)


def _canonical(parsed: object) -> bytes:
    return json.dumps(parsed, sort_keys=True, separators=(",", ":")).encode("ascii")


def parsed_digest(parsed: object) -> str:
    """As `digest`, of a value that was parsed from JSON and needs no check."""
    return hashlib.sha256(_canonical(parsed)).hexdigest()


def digest(obj: object) -> str:
    """SHA-256 of `canonical_json(obj)`, 64 lower-case hex digits."""
    return hashlib.sha256(canonical_json(obj)).hexdigest()


def file_sha256(path: Path) -> str:
    """SHA-256 of a file's bytes, 64 lower-case hex digits, read in pieces. Raises OSError."""
    hashed = hashlib.sha256()
    with path.open("rb", buffering=0) as file:  # hashlib.file_digest takes twice as long: a resumed
        while piece := file.read(1 << 18):  # run reads a hundred thousand images of some KB
            hashed.update(piece)
    return hashed.hexdigest()


def _require_json(obj: object, where: str) -> None:
    if isinstance(obj, dict):
        for key, value in obj.items():
            if not isinstance(key, str):  # json.dumps would make 1 and "1" the same key
                raise TypeError(f"{where}: key {key!r} is not a string")
            _require_json(value, f"{where}.{key}")
    elif isinstance(obj, list | tuple):
        for index, value in enumerate(obj):
            _require_json(value, f"{where}[{index}]")
    elif isinstance(obj, float) and not math.isfinite(obj):
        raise ValueError(f"{where}: {obj} has no place in JSON; use None or leave it out")
    elif not isinstance(obj, str | int | float | None):
        raise TypeError(f"{where}: {type(obj).__name__} is not JSON; convert it first")


def checksum_folder() -> Path:
    """The cache of checksums: ``$XDG_CACHE_HOME/varbench/sha256``, ``~/.cache`` by default."""
    base = os.environ.get("XDG_CACHE_HOME") or home() / ".cache"
    return Path(base) / "varbench" / "sha256"


def cached_file_sha256(path: Path) -> str:
    """As `file_sha256`, read from the cache folder if the file has not changed.

    Raises:
        OSError: the file cannot be read. (A cache that cannot be written to is no error.)
    """
    before = _identity(path)
    cache = checksum_folder() / before
    try:
        text = cache.read_text(encoding="ascii")
        if re.fullmatch(r"[0-9a-f]{64}", text):
            return text
    except (OSError, UnicodeDecodeError):
        pass
    log.info("computing the SHA-256 of %s", path)
    checksum = file_sha256(path)
    settled = time.time_ns() - path.stat().st_ctime_ns > SETTLED_NS
    if settled and _identity(path) == before:
        try:
            cache.parent.mkdir(parents=True, exist_ok=True)
            write_whole(cache, checksum)
        except OSError as error:
            log.info("checksums cannot be cached in %s: %s", cache.parent, error)
    return checksum


def _identity(path: Path) -> str:
    stat = path.stat()
    parts = (path.resolve(), stat.st_size, stat.st_ino, stat.st_mtime_ns, stat.st_ctime_ns)
    return hashlib.sha256(repr(tuple(map(str, parts))).encode()).hexdigest()
