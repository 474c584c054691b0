"""Published results, concepts and prompt sets keep every byte in the redesign."""

from __future__ import annotations

import json
from pathlib import Path

from tests.golden.frozen import files


def test_files_are_as_frozen() -> None:
    frozen = json.loads((Path(__file__).parent / "files.json").read_text(encoding="utf-8"))
    assert files() == frozen
