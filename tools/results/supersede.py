"""Mark results files as superseded: of an earlier world or code, and not measured again since.

    python -m tools.results.supersede results/leaderboard/gallery/*/*.json

`varbench publish` writes a file anew, as measured. The variance between edits is pooled over
measured files, so intervals of the others may change.
"""

from __future__ import annotations

import sys
from pathlib import Path

from varbench.leaderboard.json_files import ResultsError
from varbench.leaderboard.renew import renew
from varbench.leaderboard.results import EDITED, SUPERSEDED, read, write


def supersede(paths: list[Path]) -> None:
    """Set the status of files `<leaderboard>/<model>/<concept>/<method>.json`; all, or none.

    Raises:
        ResultsError: one cannot be read, or was edited by hand.
    """
    results = {path: read(path) for path in paths}
    for path, result in results.items():
        if result.sha256 != result.content_sha256():
            raise ResultsError(f"{path} {EDITED}")
    for path, result in results.items():
        write(path.parents[2], result.model_copy(update={"status": SUPERSEDED}).hashed())
    for folder in {path.parents[2] for path in results}:
        renew(folder)


def main(arguments: list[str]) -> str | None:
    """Mark the named files; returns what is wrong, for `sys.exit`."""
    try:
        supersede([Path(name) for name in arguments])
    except ResultsError as error:
        return str(error)
    return None


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
