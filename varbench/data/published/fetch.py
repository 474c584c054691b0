"""Getting a published file: downloaded, or taken from a folder, checked, put in place whole.

A file appears in the data folder by one rename, after its checksum is right (or, where none is
known, after it was read without complaint). It is never held in memory as a whole, unless it is a
prompt set.
"""

from __future__ import annotations

import json
import shutil
from datetime import UTC, datetime
from pathlib import Path

import filelock

from varbench.data.prompt import PromptSetError
from varbench.data.published import catalog
from varbench.data.published.catalog import Asset, PromptSetAsset
from varbench.data.published.data_folder import local_path, locate, receipt_path
from varbench.data.published.download import FetchError, download, from_hub
from varbench.data.published.readers import read, read_statistics
from varbench.errors import UserError, unknown
from varbench.store.hashing import cached_file_sha256
from varbench.utils.files import fsync, read_bytes, write_whole
from varbench.utils.progress import Progress

_LARGEST = 1 << 30  # bytes of a file looked at in `--from DIR`, where its size is not known


def by_name(name: str) -> Asset:
    """The file that `varbench fetch` brings under a name: a prompt set, statistics, or a network.

    Raises:
        UserError: there is none of that name.
    """
    known: dict[str, Asset] = {**catalog.known(), **catalog.networks()}
    if name not in known:
        raise unknown("published file", name, known)
    return known[name]


def notice(item: Asset) -> str:
    """Facts to read before the file is fetched: licence, origin, conditions."""
    lines = [f"{item.name}: {item.about}", f"  licence: {item.licence}"]
    lines.append(f"  source: {item.cite}")
    if item.page:
        revision = f", revision {item.revision}" if item.revision else ""
        lines.append(f"  from: {item.page}{revision}")
    if item.size is not None:
        lines.append(f"  size: {item.size_text}")
    lines.append(f"  checked by: {item.pinned}")
    if item.gated:
        lines.append(f"  access: {item.gated}")
    return "\n".join(lines)


def fetch(
    item: Asset, folder: Path, source: Path | None = None, progress: Progress | None = None
) -> str:
    """Put a published file into the data folder.

    Args:
        item: which.
        folder: the data folder; made if it is not there.
        source: folder (or file) to take it from; None downloads it.
        progress: shows how far a download is.

    Returns:
        What it has, in words: rows, distinct prompts, repeats; "already here" if it was.

    Raises:
        FetchError: it cannot be had, or is not what it should be; says what to do.
        PromptSetError: it was had, and is malformed.
    """
    if source is None and locate(item, folder)[0] is not None:
        return "already here"
    at_hand = None if source is None else _find(item, source)
    place = local_path(item, folder).parent
    try:
        place.mkdir(parents=True, exist_ok=True)
        with filelock.FileLock(place / f".{item.name}.lock"):
            part = place / f"{item.name}.part"
            origin, revision = _get(item, part, at_hand, progress or Progress())
            try:
                return _place(item, folder, part, origin, revision)
            finally:  # whatever is wrong, the next try starts anew
                part.unlink(missing_ok=True)
    except OSError as error:
        raise FetchError(
            f"{folder} cannot be written to ({error}); name another folder with --data"
        ) from error


def _get(
    item: Asset, part: Path, at_hand: Path | None, progress: Progress
) -> tuple[str, str | None]:
    """Bring the file to `part`; where it came from, and its revision where known."""
    if at_hand is not None:
        _copy(at_hand, part)
        return str(at_hand), None
    if item.host == "by_hand":
        raise FetchError(f"{item.name} cannot be fetched. {item.about}")
    if item.host == "package":
        raise FetchError(
            f"{item.name} is in the Python package {item.place}; run `pip install {item.place}`"
        )
    if item.host == "hub":
        path, commit = from_hub(item)
        _copy(path, part)
        return item.address, commit
    have = part.stat().st_size if part.is_file() else 0
    free = shutil.disk_usage(part.parent).free
    if item.size is not None and free < item.size - have:
        raise FetchError(
            f"{part.parent} has {free / 1e6:.1f} MB left and {item.name} needs "
            f"{item.size_text}; make room, or name another folder with --data"
        )
    download(item, part, progress)
    return item.address, item.revision


def _copy(path: Path, part: Path) -> None:
    try:
        source = path.open("rb")
    except OSError as error:
        raise FetchError(f"{path}: cannot be read ({error}); check the path") from error
    with source, part.open("wb") as file:
        try:
            shutil.copyfileobj(source, file)
        except BaseException:
            part.unlink()  # it is no beginning of a download
            raise


def _place(item: Asset, folder: Path, part: Path, origin: str, revision: str | None) -> str:
    """Check the file and put it and its receipt into the folder, each by one rename."""
    checksum = cached_file_sha256(part)
    if item.sha256 is not None and checksum != item.sha256:
        raise FetchError(
            f"{origin}: the checksum is {checksum}, but {item.name} is {item.sha256}; "
            "this is another version or a damaged copy, and was not taken"
        )
    summary, counts = _contents(item, part, origin)
    receipt = {
        "name": item.name,
        "origin": origin,
        "revision": revision,
        "sha256": checksum,
        "bytes": part.stat().st_size,
        **counts,
        "licence": item.licence,
        "fetched": datetime.now(UTC).isoformat(timespec="seconds"),
    }
    write_whole(receipt_path(item, folder), json.dumps(receipt, indent=2) + "\n", flush=True)
    fsync(part)
    part.replace(local_path(item, folder))
    return summary


def _contents(item: Asset, part: Path, origin: str) -> tuple[str, dict[str, int]]:
    """Content of a file, in words and in counts, after it was read without complaint."""
    if not isinstance(item, PromptSetAsset):
        return item.size_text, {}
    if item.columns is None:
        try:
            mean, _ = read_statistics(part, item.name)
        except UserError as error:
            raise FetchError(str(error)) from error
        return f"mean and covariance of {len(mean)} features", {}
    shown = Path(origin) if Path(origin).is_file() else Path(item.local_name)
    reading = read(item, shown, read_bytes(part, PromptSetError))
    counts = {"rows": reading.rows, "prompts": len(reading.prompt_set.prompts)}
    return reading.summary(item), counts


def _find(item: Asset, source: Path) -> Path:
    """The file in a folder: by its checksum, or, where none is known, by its name."""
    if source.is_file():
        return source
    if not source.is_dir():
        raise FetchError(f"--from: there is no folder {source}; check the path")
    files = [path for path in sorted(source.rglob("*")) if path.is_file()]
    suffix = Path(item.local_name).suffix
    if item.sha256 is not None:
        for path in files:
            size = path.stat().st_size
            fits = size < _LARGEST if item.size is None else size == item.size
            if path.suffix == suffix and fits and _is(path, item.sha256):
                return path
        raise FetchError(
            f"no *{suffix} file in {source} has the checksum of {item.name} "
            f"({item.sha256}); `{item.command}` brings it"
        )
    names = {Path(item.local_name).name}
    if "*" not in item.file:
        names.add(Path(item.file).name)
    matches = [path for path in files if path.name in names]
    if len(matches) != 1:
        raise FetchError(
            f"{len(matches)} files in {source} are called {' or '.join(sorted(names))}; give the "
            f"path of the one that is {item.name}: --from FILE"
        )
    return matches[0]


def _is(path: Path, checksum: str) -> bool:
    try:
        return cached_file_sha256(path) == checksum
    except OSError:  # not this user's to read
        return False
