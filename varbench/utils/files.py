"""Files that appear whole or not at all, so that nobody reads half of one."""

from __future__ import annotations

import os
import secrets
from pathlib import Path


def write_whole(path: Path, text: str) -> None:
    """Write `text` as UTF-8 in place of `path`, by one rename. Raises OSError."""
    draft = path.with_name(f".{path.name}.{os.getpid()}-{secrets.token_hex(4)}")
    try:
        # A name may hold what UTF-8 cannot (a lone surrogate, from JSON); spelled out then.
        draft.write_bytes(text.encode("utf-8", "backslashreplace"))
        draft.replace(path)
    finally:
        draft.unlink(missing_ok=True)
