"""Atomic file writes, and the folders that come with the package."""

from __future__ import annotations

import os
import re
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from pathlib import Path

from varbench.utils.processes import is_alive, owned, owner_of

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


def home() -> Path:
    """The user's home folder; without one a path below which nothing is or can be written."""
    try:
        return Path.home()
    except RuntimeError:
        return Path(os.devnull)


def expanded(path: str | os.PathLike[str]) -> Path:
    """The path with a leading `~` as the home folder, where there is one."""
    return Path(os.path.expanduser(path))


def file_name(text: str) -> str:
    """A name from a file of others as a plain file name; other characters become hyphens."""
    return re.sub(r"[^\w.+=-]", "-", text).lstrip(".") or "-"


def read_bytes(path: Path, error: type[Exception]) -> bytes:
    """The bytes of a file; raises `error`, which names the path, if it cannot be read."""
    try:
        return path.read_bytes()
    except (OSError, ValueError) as problem:  # ValueError: a path with a NUL character
        raise error(f"{path}: cannot be read ({problem}); check the path") from problem


def decode(path: Path, data: bytes, error: type[Exception]) -> str:
    """UTF-8 as text, without a byte order mark; raises `error`, which names the first bad line."""
    try:
        return data.decode("utf-8-sig")  # spreadsheets like to put a byte order mark first
    except UnicodeDecodeError as problem:
        line = data[: problem.start].count(b"\n") + 1
        raise error(f"{path}:{line}: not UTF-8; save the file as UTF-8") from problem


@contextmanager
def whole_file(path: Path, *, flush: bool = False) -> Iterator[Path]:
    """A draft to write, which takes the place of `path` by one rename if the block succeeds.

    Drafts of the same file that killed processes of this machine left behind are removed.

    Args:
        flush: put the draft's bytes on disk before the rename.
    """
    draft = path.with_name(owned(f".{path.name}"))
    _remove_drafts(path)
    try:
        yield draft
        if flush:
            fsync(draft)
        draft.replace(path)
    finally:
        draft.unlink(missing_ok=True)


def _remove_drafts(path: Path) -> None:
    with suppress(OSError):  # no folder yet, someone else's draft, or another process was faster
        for draft in path.parent.iterdir():
            name, owner = owner_of(draft.name) or ("", None)
            if owner and name == f".{path.name}" and owner.here and not is_alive(owner.pid):
                draft.unlink()


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
