"""The JSON Schemas of results files, for editors and other programs, made from the classes.

    python -m tools.results.schema   write them into results/schema/

A test compares them with the classes.
"""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

from varbench.leaderboard.json_files import Part
from varbench.leaderboard.reported import Reported
from varbench.leaderboard.results import Result

KINDS: dict[str, type[Part]] = {"leaderboard": Result, "reported": Reported}
FOLDER = Path(__file__).resolve().parents[2] / "results" / "schema"


def schema(kind: str) -> dict[str, Any]:
    """The JSON Schema of a kind of file: `leaderboard` or `reported`."""
    dialect = {"$schema": "https://json-schema.org/draft/2020-12/schema"}
    return dialect | KINDS[kind].model_json_schema()


def write(folder: Path = FOLDER) -> list[Path]:
    """Write both schemas; returns the files."""
    folder.mkdir(parents=True, exist_ok=True)
    written = []
    for kind in KINDS:
        path = folder / f"{kind}.schema.json"
        path.write_text(json.dumps(schema(kind), indent=1) + "\n", encoding="utf-8")
        written.append(path)
    return written


if __name__ == "__main__":
    write()
