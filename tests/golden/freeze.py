"""Write the frozen keys and digests with the code as it is: `python -m tests.golden.freeze`.

To be run again only when keys are meant to change.
"""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import tests.conftest  # noqa: F401  # nobody's fetched files decide anything
from tests.golden.frozen import files, frozen
from tests.golden.keys import keys_of_request
from tests.golden.requests import REQUESTS

HERE = Path(__file__).parent


def _write(name: str, value: Any) -> None:
    (HERE / name).write_text(json.dumps(value, indent=1) + "\n", encoding="utf-8")


if __name__ == "__main__":
    _write("keys.json", {name: keys_of_request(asked) for name, asked in REQUESTS.items()})
    _write("frozen.json", frozen())
    _write("files.json", files())
