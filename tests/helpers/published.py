"""Published sets as tests need them: a table entry with any part changed, a server for files."""

from __future__ import annotations

import dataclasses
import hashlib
import http.server
import threading
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field
from typing import Any

from varbench.data.published.catalog import Columns, PromptSetAsset

DATA = (
    b'"",prompt,categories,artist\n0,a red car,"shocking, hate",Ada\n'
    b'1,"a boat,\nat night",hate,\n2,a red car,violence,Bo\n3,NuLL,,Ada\n'
)
"""Four rows, three prompts; one prompt has a line break, one is the literal text NuLL."""

PLAIN = Columns("prompt", None, "categories", ("artist",))


def entry(**changes: Any) -> PromptSetAsset:
    """A pinned CSV file at an address that answers nothing, with DATA in it."""
    asset = PromptSetAsset(
        name="some-set",
        about="A set.",
        cite="Nobody 2026",
        host="url",
        place="http://127.0.0.1:9/some.csv",
        revision="c0ffee",
        file="prompts/some.csv",
        sha256=hashlib.sha256(DATA).hexdigest(),
        licence="MIT",
        gated=None,
        rows=4,
        prompts=3,
        format="csv",
        columns=PLAIN,
    )
    return dataclasses.replace(asset, **changes)


@dataclass
class Web:
    """A server on this machine with one file, and what was asked of it.

    Attributes:
        address: of the file.
        data: its bytes.
        breaks_after: the connection is closed after so many bytes of an answer.
        ranges: the Range header of each request, "" without one.
    """

    address: str = ""
    data: bytes = DATA
    breaks_after: int | None = None
    ranges: list[str] = field(default_factory=list)
    takes_ranges: bool = True


@contextmanager
def serving() -> Iterator[Web]:
    """The server, while the block runs."""
    shown = Web()

    class Handler(http.server.BaseHTTPRequestHandler):
        def do_GET(self) -> None:
            wanted = self.headers.get("Range", "")
            shown.ranges.append(wanted)
            start = 0
            if wanted and shown.takes_ranges:
                start = int(wanted.removeprefix("bytes=").rstrip("-"))
                if start >= len(shown.data):
                    self.send_error(416)
                    return
                self.send_response(206)
                size = len(shown.data)
                self.send_header("Content-Range", f"bytes {start}-{size - 1}/{size}")
            else:
                self.send_response(200)
            body = shown.data[start:]
            self.send_header("Content-Length", str(len(body)))
            self.end_headers()
            self.wfile.write(body[: shown.breaks_after])

        def log_message(self, *args: object) -> None:
            pass

    server = http.server.ThreadingHTTPServer(("127.0.0.1", 0), Handler)
    shown.address = f"http://127.0.0.1:{server.server_port}/some.csv"
    thread = threading.Thread(target=server.serve_forever, kwargs={"poll_interval": 0.01})
    thread.start()
    try:
        yield shown
    finally:
        server.shutdown()
        server.server_close()
        thread.join()
