"""Getting a published file: downloaded, or taken from a folder, checked, put in place whole.

A file appears in the data folder by one rename, after its checksum is right (or, where none is
known, after it was read without complaint). A download that was cut off is resumed, if what is
fetched cannot change (a commit); the part lies beside the file as `NAME.part`.
"""

from __future__ import annotations

import fnmatch
import hashlib
import json
import os
import tempfile
import urllib.error
import urllib.request
from datetime import UTC, datetime
from http.client import HTTPException
from pathlib import Path

import filelock

from varbench.errors import UserError
from varbench.prompt_rows import read_bytes
from varbench.published.folder import local_path, problem, receipt_path
from varbench.published.readers import read
from varbench.published.table import Published

_PIECE = 1 << 16
_TIMEOUT_S = 60.0
_LARGEST = 1 << 30  # bytes of a file looked at in `--from DIR`


class FetchError(UserError):
    """A published file could not be had; the message names the fix."""


def notice(published: Published) -> str:
    """What a user should know before the file is fetched: licence, origin, conditions."""
    lines = [f"{published.name}: {published.about}", f"  licence: {published.licence}"]
    lines.append(f"  source: {published.cite}")
    if published.page:
        revision = f", revision {published.revision}" if published.revision else ""
        lines.append(f"  from: {published.page}{revision}")
    lines.append(f"  checked by: {published.pinned}")
    if published.gated:
        lines.append(f"  access: {published.gated}")
    return "\n".join(lines)


def fetch(published: Published, folder: Path, source: Path | None = None) -> str:
    """Put a published file into the data folder.

    Args:
        published: which.
        folder: the data folder; made if it is not there.
        source: folder (or file) to take it from; None downloads it.

    Returns:
        What it has, in words: rows, distinct prompts, repeats; "already here" if it was.

    Raises:
        FetchError: it cannot be had, or is not what it should be; says what to do.
        PromptSetError: it was had, and is malformed.
    """
    if source is None and problem(published, folder) is None:
        return "already here"
    try:
        folder.mkdir(parents=True, exist_ok=True)
        with filelock.FileLock(folder / f".{published.name}.lock"):
            return _place(published, folder, *_get(published, folder, source))
    except OSError as error:
        raise FetchError(
            f"{folder} cannot be written to ({error}); name another folder with --data"
        ) from error


def _get(published: Published, folder: Path, source: Path | None) -> tuple[bytes, str, str | None]:
    """The bytes, where they came from, and their revision where it is known."""
    if source is not None:
        path = _find(published, source)
        return read_bytes(path), str(path), None
    if published.host == "by_hand":
        raise FetchError(f"{published.name} cannot be fetched. {published.about}")
    if published.host == "hub":
        data, revision = _from_hub(published)
        return data, published.address, revision
    return _download(published, folder), published.address, published.revision


def _place(
    published: Published, folder: Path, data: bytes, origin: str, revision: str | None
) -> str:
    """Check the bytes and put them and their receipt into the folder, each by one rename."""
    found = hashlib.sha256(data).hexdigest()
    if published.sha256 is not None and found != published.sha256:
        raise FetchError(
            f"{origin}: the checksum is {found}, but {published.name} is {published.sha256}; "
            "this is another version or a damaged copy, and was not taken"
        )
    counts: dict[str, int] = {}
    if published.columns is None:
        summary = _statistics(published, data)
    else:
        shown = Path(origin) if Path(origin).is_file() else Path(published.local_name)
        reading = read(published, shown, data)
        summary = reading.summary(published)
        counts = {"rows": reading.rows, "prompts": len(reading.prompt_set.prompts)}
    receipt = {
        "name": published.name,
        "origin": origin,
        "revision": revision,
        "sha256": found,
        "bytes": len(data),
        **counts,
        "licence": published.licence,
        "fetched": datetime.now(UTC).isoformat(timespec="seconds"),
    }
    _write(receipt_path(published, folder), json.dumps(receipt, indent=2).encode() + b"\n")
    _write(local_path(published, folder), data)
    return summary


def _write(path: Path, data: bytes) -> None:
    """The file with these bytes, or none: by one rename, after they are on disk."""
    with tempfile.NamedTemporaryFile(dir=path.parent, prefix=".", delete=False) as file:
        try:
            file.write(data)
            file.flush()
            os.fsync(file.fileno())
            os.chmod(file.name, 0o644)
            os.replace(file.name, path)
        except BaseException:
            Path(file.name).unlink(missing_ok=True)
            raise


def _statistics(published: Published, data: bytes) -> str:
    """Check the mean and covariance of features, as clean-fid keeps them."""
    import io
    import zipfile

    import numpy as np

    try:
        with np.load(io.BytesIO(data)) as arrays:
            mean, covariance = arrays["mu"], arrays["sigma"]
    except (OSError, ValueError, KeyError, zipfile.BadZipFile) as error:
        raise FetchError(
            f"{published.name}: not an .npz file with arrays mu and sigma ({error})"
        ) from error
    width = mean.shape[-1] if mean.ndim == 1 else 0
    if not width or covariance.shape != (width, width) or not np.isfinite(covariance).all():
        raise FetchError(
            f"{published.name}: mu {mean.shape} and sigma {covariance.shape} are no mean [d] and "
            "finite covariance [d, d]"
        )
    return f"mean and covariance of {width} features"


def _find(published: Published, source: Path) -> Path:
    """The file in a folder: by its checksum, or, where none is known, by its name."""
    if source.is_file():
        return source
    if not source.is_dir():
        raise FetchError(f"--from: there is no folder {source}; check the path")
    files = [p for p in sorted(source.rglob("*")) if p.is_file() and p.stat().st_size < _LARGEST]
    suffix = Path(published.local_name).suffix
    if published.sha256 is not None:
        for path in files:
            if path.suffix == suffix and _sha256(path) == published.sha256:
                return path
        raise FetchError(
            f"no *{suffix} file in {source} has the checksum of {published.name} "
            f"({published.sha256}); `varbench fetch {published.name}` downloads it"
        )
    names = {published.local_name}
    if "*" not in published.file:
        names.add(Path(published.file).name)
    found = [path for path in files if path.name in names]
    if len(found) != 1:
        raise FetchError(
            f"{len(found)} files in {source} are called {' or '.join(sorted(names))}; give the "
            f"path of the one that is {published.name}: --from FILE"
        )
    return found[0]


def _sha256(path: Path) -> str:
    with path.open("rb") as file:
        return hashlib.file_digest(file, "sha256").hexdigest()


def _failed(published: Published, reason: object) -> FetchError:
    return FetchError(
        f"{published.address} could not be fetched: {reason}. Run the same command again to go "
        f"on; or get the file elsewhere and run `varbench fetch {published.name} --from FOLDER`"
    )


def _download(published: Published, folder: Path) -> bytes:
    """The bytes at the address; what a broken download left is gone on with."""
    part = folder / f"{published.name}.part"
    if published.revision is None:
        part.unlink(missing_ok=True)
    have = part.stat().st_size if part.is_file() else 0
    headers = {"User-Agent": "varbench"} | ({"Range": f"bytes={have}-"} if have else {})
    request = urllib.request.Request(published.address, headers=headers)
    try:
        with urllib.request.urlopen(request, timeout=_TIMEOUT_S) as answer:
            resumed = answer.headers.get("Content-Range", "").startswith(f"bytes {have}-")
            length = answer.headers.get("Content-Length")
            with part.open("ab" if resumed else "wb") as file:
                start = file.tell()
                while piece := answer.read(_PIECE):
                    file.write(piece)
                got = file.tell() - start
    except urllib.error.HTTPError as error:
        if error.code == 416:  # nothing is left to send: the part is whole, or of another file
            return _whole(published, part)
        raise _failed(published, error) from error
    except (OSError, HTTPException) as error:
        raise _failed(published, error) from error
    if length is not None and got != int(length):
        raise _failed(published, f"the connection broke after {got} of {length} bytes")
    return _whole(published, part)


def _whole(published: Published, part: Path) -> bytes:
    """The bytes of a finished download, and the part is gone: whatever is wrong, start anew."""
    data = read_bytes(part)
    part.unlink()
    return data


def _from_hub(published: Published) -> tuple[bytes, str | None]:
    """The bytes of a file of the hub's dataset, and the commit it is of."""
    from huggingface_hub import HfApi, hf_hub_download
    from huggingface_hub.errors import GatedRepoError

    try:
        info = HfApi().dataset_info(published.place, revision=published.revision)
        files = [one.rfilename for one in info.siblings or ()]
        matching = fnmatch.filter(files, published.file)
        if len(matching) != 1:
            raise FetchError(
                f"{published.page} has {len(matching)} files {published.file!r} among "
                f"{', '.join(files)}; download the right one, name it "
                f"{published.local_name!r}, and run `varbench fetch {published.name} --from FOLDER`"
            )
        path = hf_hub_download(published.place, matching[0], repo_type="dataset", revision=info.sha)
    except GatedRepoError as error:
        raise FetchError(
            f"{published.page} lets in only those it knows. {published.gated or ''} "
            "Then run the same command again."
        ) from error
    except FetchError:
        raise
    except Exception as error:  # the hub's own errors and those of its HTTP library
        raise _failed(published, error) from error
    return read_bytes(Path(path)), info.sha
