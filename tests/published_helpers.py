"""Published sets as tests need them: a table entry with any part changed."""

from __future__ import annotations

import dataclasses
import hashlib
from typing import Any

from varbench.published.table import Columns, Published

DATA = (
    b'"",prompt,categories,artist\n0,a red car,"shocking, hate",Ada\n'
    b'1,"a boat,\nat night",hate,\n2,a red car,violence,Bo\n3,NuLL,,Ada\n'
)
"""Four rows, three prompts; one prompt has a line break, one is the literal text NuLL."""

PLAIN = Columns("prompt", None, "categories", ("artist",))


def entry(**changes: Any) -> Published:
    """A pinned CSV file at an address that answers nothing, with DATA in it."""
    one = Published(
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
    return dataclasses.replace(one, **changes)
