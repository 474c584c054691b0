"""The data folder of fetched files: the check of their bytes, and tables of what is there.

Beside each file lies a receipt, `NAME.receipt.json`: where it came from, when, and its checksum.
A file counts as present only if its bytes have the checksum of the table, or, where the table has
none, that of the receipt: a half-written or edited file is never read.
"""

from __future__ import annotations

import json
import os
from pathlib import Path
from typing import Any

from tabulate import tabulate

from varbench.data.prompt import MissingPromptSetError, PromptSet, PromptSetError
from varbench.data.published import catalog
from varbench.data.published.catalog import Asset, PromptSetAsset
from varbench.data.published.readers import read
from varbench.errors import UserError, unknown
from varbench.store.hashing import cached_file_sha256
from varbench.utils.files import expanded, home, read_bytes

VARIABLE = "VARBENCH_DATA"


class MissingNetworkError(UserError):
    """A network's file is not on this machine; says where it was looked for, and the fix."""


def data_folder() -> Path:
    """`$VARBENCH_DATA`, or `$XDG_DATA_HOME/varbench` (`~/.local/share/varbench`)."""
    if given := os.environ.get(VARIABLE):
        return expanded(given)
    base = os.environ.get("XDG_DATA_HOME") or home() / ".local" / "share"
    return Path(base) / "varbench"


def local_path(published: Asset, folder: Path | None = None) -> Path:
    """Path of the file, fetched or not."""
    return (folder or data_folder()) / published.local_name


def receipt_path(published: Asset, folder: Path | None = None) -> Path:
    """Path of its receipt, fetched or not."""
    return (folder or data_folder()) / f"{published.name}.receipt.json"


def receipt(published: Asset, folder: Path | None = None) -> dict[str, Any]:
    """Record of how the file was fetched; empty without a readable receipt."""
    try:
        content = json.loads(receipt_path(published, folder).read_text(encoding="utf-8"))
    except (OSError, ValueError, RecursionError):
        return {}
    return content if isinstance(content, dict) else {}


def verify(published: Asset, folder: Path | None = None) -> str | None:
    """Reason why the file cannot be used; None if it is present and whole."""
    path = local_path(published, folder)
    checksum = published.sha256 or receipt(published, folder).get("sha256")
    if checksum is None and path.is_file():
        return "no receipt, so it may be incomplete"
    return mismatch(path, checksum)


def mismatch(path: Path, checksum: str | None) -> str | None:
    """Reason why a file is not the one with this checksum; without one any file will do."""
    if not path.is_file():
        return "missing"
    try:
        actual = cached_file_sha256(path)
    except OSError as error:
        return f"cannot be read ({error})"
    if checksum is not None and actual != checksum:
        return f"its checksum is {actual[:16]}..., not {checksum[:16]}..."
    return None


def locate(published: Asset, folder: Path | None = None) -> tuple[Path | None, tuple[str, ...]]:
    """The file, or None, and the places that were searched before, with what is wrong there.

    Args:
        published: which.
        folder: where fetched files lie; None for :func:`data_folder`.
    """
    fetched = local_path(published, folder)
    if (problem := verify(published, folder)) is None:
        return fetched, ()
    problems = [f"{fetched}: {problem}"]
    for path in published.copies():
        if (problem := mismatch(path, published.sha256)) is None:
            return path, tuple(problems)
        problems.append(f"{path}: {problem}")
    if published.host == "package" and len(problems) == 1:
        problems.append(f"the Python package {published.place}: not installed")
    return None, tuple(problems)


def load(published: PromptSetAsset, folder: Path | None = None) -> PromptSet:
    """A fetched prompt set.

    Args:
        published: which.
        folder: where fetched files lie; None for :func:`data_folder`.

    Raises:
        MissingPromptSetError: it is not there, or not whole.
        PromptSetError: it is malformed.
    """
    path = local_path(published, folder)
    if reason := verify(published, folder):
        message = f"{path} is not the published file: {reason}"
        if reason == "missing":
            message = (
                f"prompt set {published.name!r} is published by others and not on this machine "
                f"(looked for {path})"
            )
        raise MissingPromptSetError(message, f"varbench fetch {published.name}")
    return read(published, path, read_bytes(path, PromptSetError)).prompt_set


def network_path(name: str) -> Path:
    """The file of a network.

    Raises:
        MissingNetworkError: it is not on this machine, or not whole; names the fix.
        UserError: there is no network of that name.
    """
    if (network := catalog.networks().get(name)) is None:
        raise unknown("network", name, catalog.networks())
    path, problems = locate(network)
    if path is None:
        places = "\n".join(f"  {text}" for text in problems)
        raise MissingNetworkError(
            f"network {name!r} is not on this machine: {Path(network.file).name}, "
            f"{network.size_text}, for {network.purpose}; licence: {network.licence}. "
            f"Looked for\n{places}\nrun `{network.command}`, or `varbench fetch {name} --from DIR` "
            "with the folder of a copy"
        )
    return path


def network_checksum(name: str) -> str:
    """SHA-256 of a network's file, 64 hex digits; kept until the file changes.

    Raises:
        MissingNetworkError: it is not on this machine.
    """
    return cached_file_sha256(network_path(name))


def state_of(item: Asset, folder: Path | None = None) -> str:
    """The state of a file in words: "here", its place elsewhere, or why it cannot be used."""
    path, problems = locate(item, folder)
    if path is not None:
        return "here" if path == local_path(item, folder) else str(path)
    return next((text for text in problems if not text.endswith(": missing")), "missing")


def counts(published: PromptSetAsset, folder: Path | None = None) -> tuple[object, object]:
    """Rows and distinct prompts: as fetched, or as the table says, or "?"."""
    fetched = receipt(published, folder)
    rows = fetched.get("rows", published.rows)
    prompts = fetched.get("prompts", published.prompts)
    return ("?" if rows is None else rows), ("?" if prompts is None else prompts)


def network_table(folder: Path | None = None) -> str:
    """All networks of metrics: what for, size, licence, and the file or why there is none."""
    rows = [
        [name, asset.purpose, asset.size_text, asset.licence, state_of(asset, folder)]
        for name, asset in catalog.networks().items()
    ]
    return str(tabulate(rows, ["network", "for", "size", "licence", ""], disable_numparse=True))


def listing(folder: Path) -> str:
    """All published sets, statistics and networks: sizes, licence, how they are checked, state."""
    rows = []
    for name, asset in catalog.known().items():
        number, prompts = counts(asset, folder) if asset.columns else ("", "")
        access = "ask for access" if asset.gated else "by hand" if asset.host == "by_hand" else ""
        state = state_of(asset, folder)
        rows.append([name, number, prompts, asset.licence, asset.pinned, access, state])
    header = ["published set", "rows", "prompts", "licence", "checked by", "access", ""]
    sets = str(tabulate(rows, header, disable_numparse=True))
    place = f"in {folder} (another folder: --data, or VARBENCH_DATA)"
    return f"{sets}\n\n{network_table(folder)}\n\n{place}"
