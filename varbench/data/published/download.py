"""Bytes from elsewhere: over HTTP into a part file that is gone on with, or from the hub's cache.

A download that was cut off is resumed if what is fetched cannot change (a commit), or if its
checksum will tell; the part lies in the data folder as `NAME.part`.
"""

from __future__ import annotations

import fnmatch
import urllib.error
import urllib.request
from http.client import HTTPException
from pathlib import Path

from varbench.data.published.catalog import Asset
from varbench.errors import UserError
from varbench.utils.progress import Progress

_PIECE = 1 << 16
_TIMEOUT_S = 60.0
_MB = 1_000_000


class FetchError(UserError):
    """A published file could not be had; the message names the fix."""


def _failed(item: Asset, reason: object) -> FetchError:
    return FetchError(
        f"{item.address} could not be fetched: {reason}. Run the same command again to go "
        f"on; or get the file elsewhere and run `varbench fetch {item.name} --from FOLDER`"
    )


def download(item: Asset, part: Path, progress: Progress) -> None:
    """Bring the bytes at the item's address into `part`; what is there already is gone on with.

    Raises:
        FetchError: the connection failed; the part stays for the next try.
        OSError: the part cannot be written.
    """
    if item.revision is None and item.sha256 is None:
        part.unlink(missing_ok=True)
    have = part.stat().st_size if part.is_file() else 0
    # A release's asset is sent as a file only to those who ask for one.
    headers = {"User-Agent": "varbench", "Accept": "application/octet-stream"}
    headers |= {"Range": f"bytes={have}-"} if have else {}
    request = urllib.request.Request(item.address, headers=headers)
    try:
        answer = urllib.request.urlopen(request, timeout=_TIMEOUT_S)
    except urllib.error.HTTPError as error:
        if error.code == 416:  # nothing is left to send: the part is whole, or of another file
            return
        raise _failed(item, error) from error
    except (OSError, HTTPException) as error:
        raise _failed(item, error) from error
    with answer:
        resumed = answer.headers.get("Content-Range", "").startswith(f"bytes {have}-")
        start = have if resumed else 0
        length = answer.headers.get("Content-Length")
        total = start + int(length or 0)
        with (
            part.open("ab" if resumed else "wb") as file,
            progress.stage(f"{item.name}, MB", total // _MB, start // _MB) as bar,
        ):
            got = start
            while piece := _read(item, answer):
                file.write(piece)
                got += len(piece)
                if more := got // _MB - bar.done:
                    bar.advance(more)
    if length is not None and got != total:
        raise _failed(item, f"the connection broke after {got} of {total} bytes")


def _read(item: Asset, answer: object) -> bytes:
    try:
        piece: bytes = answer.read(_PIECE)  # type: ignore[attr-defined]
    except (OSError, HTTPException) as error:
        raise _failed(item, error) from error
    return piece


def from_hub(item: Asset) -> tuple[Path, str | None]:
    """A file of the hub's dataset, in the hub's own cache, and the commit it is of.

    Raises:
        FetchError: it cannot be had, or it is not clear which file is meant.
    """
    from huggingface_hub import HfApi, hf_hub_download
    from huggingface_hub.errors import GatedRepoError

    try:
        info = HfApi().dataset_info(item.place, revision=item.revision)
        files = [one.rfilename for one in info.siblings or ()]
        matching = fnmatch.filter(files, item.file)
        if len(matching) != 1:
            raise FetchError(
                f"{item.page} has {len(matching)} files {item.file!r} among "
                f"{', '.join(files)}; download the right one, name it "
                f"{item.local_name!r}, and run `varbench fetch {item.name} --from FOLDER`"
            )
        path = hf_hub_download(item.place, matching[0], repo_type="dataset", revision=info.sha)
    except GatedRepoError as error:
        raise FetchError(
            f"{item.page} lets in only those it knows. {item.gated or ''} "
            "Then run the same command again."
        ) from error
    except FetchError:
        raise
    except Exception as error:  # the hub's own errors and those of its HTTP library
        raise _failed(item, error) from error
    return Path(path), info.sha
