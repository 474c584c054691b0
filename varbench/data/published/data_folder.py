"""The data folder of fetched files, and the check of their bytes.

Beside each file lies a receipt, `NAME.receipt.json`: where it came from, when, and its checksum.
A file counts as present only if its bytes have the checksum of the table, or, where the table has
none, that of the receipt: a half-written or edited file is never read.
"""

from __future__ import annotations

import hashlib
import json
import os
from pathlib import Path
from typing import Any

from varbench.data.csv_rows import read_bytes
from varbench.data.prompt import MissingPromptSetError, PromptSet
from varbench.data.published.catalog import Asset, PromptSetAsset
from varbench.data.published.readers import read
from varbench.store.hashing import cached_file_sha256

VARIABLE = "VARBENCH_DATA"


def data_folder() -> Path:
    """`$VARBENCH_DATA`, or `$XDG_DATA_HOME/varbench` (`~/.local/share/varbench`)."""
    if given := os.environ.get(VARIABLE):
        return Path(given).expanduser()
    base = os.environ.get("XDG_DATA_HOME") or Path.home() / ".local" / "share"
    return Path(base) / "varbench"


def local_path(published: Asset, folder: Path | None = None) -> Path:
    """Path of the file, fetched or not."""
    return (folder or data_folder()) / published.local_name


def receipt_path(published: Asset, folder: Path) -> Path:
    """Path of its receipt, fetched or not."""
    return folder / f"{published.name}.receipt.json"


def receipt(published: Asset, folder: Path) -> dict[str, Any]:
    """Record of how the file was fetched; empty without a readable receipt."""
    try:
        content = json.loads(receipt_path(published, folder).read_text(encoding="utf-8"))
    except (OSError, ValueError):
        return {}
    return content if isinstance(content, dict) else {}


def verify(published: Asset, folder: Path | None = None) -> str | None:
    """Reason why the file cannot be used; None if it is present and whole."""
    folder = folder or data_folder()
    path = local_path(published, folder)
    if not path.is_file():
        return "missing"
    try:
        checksum = cached_file_sha256(path)
    except OSError as error:
        return f"cannot be read ({error})"
    return _mismatch(published, folder, checksum)


def _mismatch(published: Asset, folder: Path, checksum: str) -> str | None:
    known = published.sha256 or receipt(published, folder).get("sha256")
    if known is None:
        return "no receipt, so it may be incomplete"
    if known != checksum:
        return f"its checksum is {checksum[:16]}..., not {known[:16]}..."
    return None


def load(published: PromptSetAsset, folder: Path | None = None) -> PromptSet:
    """A fetched prompt set.

    Args:
        published: which.
        folder: where fetched files lie; None for :func:`data_folder`.

    Raises:
        MissingPromptSetError: it is not there, or not whole.
        PromptSetError: it is malformed.
    """
    folder = folder or data_folder()
    path = local_path(published, folder)
    command = f"varbench fetch {published.name}"
    if not path.is_file():
        raise MissingPromptSetError(
            f"prompt set {published.name!r} is published by others and not on this machine "
            f"(looked for {path})",
            command,
        )
    data = read_bytes(path)
    if reason := _mismatch(published, folder, hashlib.sha256(data).hexdigest()):
        raise MissingPromptSetError(f"{path} is not the published file: {reason}", command)
    return read(published, path, data).prompt_set
