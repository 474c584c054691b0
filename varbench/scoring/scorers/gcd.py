"""GIPHY's celebrity detector (GCD), run separately: its answers are read from a CSV file.

The detector needs Python 3.6 and its own weights, so it cannot run here. Its answers come as a
table with the columns `file`, `name` and `probability`, one row per image and rank, in any order;
other columns are ignored. An image in which it found no face has one row with an empty name:

    file,name,probability
    3f/3fa9.../000.png,Tom_Hanks_[m.0bxtg],0.98
    3f/3fa9.../000.png,Bill_Murray_[m.0p_pd],0.01
    3f/3fa9.../001.png,,

`file` is the path of the image, of which only the last two parts are read, or, where the images
were copied for the detector, the SHA-256 of the image with its ending. Names are compared by
their letters alone, without identifier, capitals, accents, spaces and punctuation. The most
probable name of an image counts.

The file is that of the environment variable `VARBENCH_GCD_CSV`, else `gcd.csv` in the data folder;
docs/metrics.md shows how to make it.
"""

from __future__ import annotations

import os
import re
import unicodedata
from collections.abc import Mapping, Sequence
from functools import cached_property
from pathlib import Path, PureWindowsPath
from typing import NamedTuple

import numpy as np

from varbench.data.concept import Concept
from varbench.data.csv_rows import read_csv
from varbench.data.published.data_folder import data_folder
from varbench.errors import UserError
from varbench.metrics.groups import Array, Arrays, Flags
from varbench.scoring.base import Scorer
from varbench.scoring.judges import NameJudge
from varbench.scoring.scorers.images import check_input
from varbench.store.hashing import cached_file_sha256, file_sha256
from varbench.utils.files import expanded, read_bytes

VARIABLE = "VARBENCH_GCD_CSV"
COLUMNS = ("file", "name", "probability")
_SHOWN = 10
_SHA256 = re.compile(r"[0-9a-f]{64}")


class GcdError(UserError):
    """The detector's table is missing, malformed or lacks images; says where and the fix."""


class Answer(NamedTuple):
    """The detector's answer for one image; without a face the name is empty."""

    name: str
    probability: float


class GcdScorer:
    """Looks up the detector's answers; ignores the prompts."""

    version = 1

    def __init__(self, table: Path | None = None, *, device: str = "cpu") -> None:
        self._path = table or default_table()

    @cached_property
    def _answers(self) -> dict[str, Answer]:
        return read_answers(self._path)

    def fingerprint(self) -> str:
        """Hash of the table; a fixed text without one, because images must be made before it."""
        return cached_file_sha256(self._path) if self._path.is_file() else "no table"

    def score(self, files: Sequence[Path], prompts: Sequence[str]) -> dict[str, Array]:
        """`face` bool [n]; `name` str [n], plain, empty without a face; `probability` float32 [n].

        Raises:
            GcdError: the table is missing or malformed, or does not have all the images.
        """
        check_input(files, prompts)
        answers = self._answers if self._path.is_file() else {}
        known: list[Answer] = []
        missing: list[Path] = []
        for file in files:
            answer = answers.get(_key(str(file))) or answers.get(file_sha256(file))
            known += [answer] if answer else []
            missing += [] if answer else [file]
        if missing:
            raise GcdError(self._complaint(missing, len(files)))
        return {
            "face": np.array([answer.name != "" for answer in known]),
            "name": np.array([answer.name for answer in known], dtype=np.str_),
            "probability": np.array([answer.probability for answer in known], dtype=np.float32),
        }

    def _complaint(self, missing: Sequence[Path], count: int) -> str:
        state = "lacks" if self._path.is_file() else "does not exist; it should cover"
        shown = "\n".join(f"  {file}" for file in missing[:_SHOWN])
        more = f"\n  and {len(missing) - _SHOWN} more" if len(missing) > _SHOWN else ""
        stage = Path(*missing[0].parts[:-3])  # in a store, STAGE/ab/KEY/000.png
        return (
            f"judge 'gcd' reads the answers of GIPHY's celebrity detector, but {self._path} "
            f"{state} {len(missing)} of {count} images:\n{shown}{more}\nrun the detector on the "
            f"images below {stage} (docs/metrics.md, 'Celebrities', shows how), set {VARIABLE} "
            "to the table, and repeat the command: the images are cached"
        )


class GcdJudge(NameJudge):
    """The name from GIPHY's celebrity detector, as the scorer `gcd` has read it."""

    def __init__(self, concept: Concept, scorers: Mapping[str, Scorer]) -> None:
        super().__init__(concept, scorers)
        self._index = {plain_name(name): i for i, name in enumerate(self.names)}
        if len(self._index) < len(self.names):
            raise UserError(
                f"two names of column {self.head!r} differ in capitals, accents or punctuation "
                "only; spell a person's name in one way"
            )

    def _named(self, scores: Mapping[str, Arrays]) -> tuple[Flags, Array, Array]:
        answers, another = scores["gcd"], len(self.names)
        indices = [self._index.get(str(name), another) for name in answers["name"]]
        face = np.asarray(answers["face"], dtype=np.bool_)
        return face, np.array(indices, np.int64), answers["probability"]


def default_table() -> Path:
    """`$VARBENCH_GCD_CSV`, or `gcd.csv` in the data folder."""
    given = os.environ.get(VARIABLE)
    return expanded(given) if given else data_folder() / "gcd.csv"


def plain_name(name: str) -> str:
    """A name in the form that is compared: `Beyonce_[m.01mpq7s]` and `Beyoncé` give `beyonce`."""
    letters = unicodedata.normalize("NFKD", name.split("_[")[0]).casefold()
    return "".join(filter(_is_kept, letters))


def _is_kept(char: str) -> bool:
    """True of letters, digits and signs of vowels, not of accents."""
    is_mark = unicodedata.category(char)[0] == "M"
    return char.isalnum() or (is_mark and not unicodedata.combining(char))


def read_answers(path: Path) -> dict[str, Answer]:
    """The most probable answer for each image, by its last two path parts or its SHA-256.

    Raises:
        GcdError: the table is malformed; names the line.
    """
    answers: dict[str, Answer] = {}
    header, rows = read_csv(path, read_bytes(path, GcdError), GcdError)
    if lacking := [name for name in COLUMNS if name not in header]:
        raise GcdError(f"{path}:1: no column {lacking[0]!r}; needs {', '.join(COLUMNS)}")
    for line, row in rows:
        key, answer = _read_row(row, f"{path}:{line}")
        before = answers.get(key)
        if before is not None and (before.name == "") != (answer.name == ""):
            raise GcdError(
                f"{path}:{line}: {key} has rows with and without a name; an image has either "
                "names or one row without a name (no face)"
            )
        if before is None or answer.probability > before.probability:
            answers[key] = answer
    return answers


def _read_row(row: Mapping[str, str], place: str) -> tuple[str, Answer]:
    file, name, probability = (row[column].strip() for column in COLUMNS)
    if not file:
        raise GcdError(f"{place}: column 'file' is empty; name the image")
    if not name:
        if probability:
            raise GcdError(f"{place}: a probability without a name; leave both empty for no face")
        return _key(file), Answer("", 0.0)
    plain = plain_name(name)
    if not plain:
        raise GcdError(f"{place}: {name!r} is not a name")
    try:
        value = float(probability)
    except ValueError:
        value = -1.0
    if not 0 <= value <= 1:
        raise GcdError(f"{place}: probability {probability!r} is not a number from 0 to 1")
    return _key(file), Answer(plain, value)


def _key(path: str) -> str:
    """`FOLDER/000.png`, or the SHA-256 that a copy is named by."""
    parts = PureWindowsPath(path)  # splits at both kinds of slash
    stem = parts.stem.lower()
    return stem if _SHA256.fullmatch(stem) else "/".join(parts.parts[-2:])
