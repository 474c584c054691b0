"""The rows beside a results file: per prompt, the numbers that its values are made of.

    <method>.rows.csv.xz    beside <method>.json; one line reads it: pandas.read_csv(path)

A line has one image (or one prompt) of one metric and edit seed: the number of the edited model,
and that of the base model on the same prompt and image seed.

    seed       edit seed
    metric     as in the results file; one that is no mean over images or prompts has no rows
    statistic  the way from rows to a value, see `varbench.metrics.stats.PairedSamples`
    kind       hit (0 or 1), count or number
    prompt     id of the prompt, the unit of intervals and tests
    method     of the edited model, with all digits of a float64
    base       of the base model
"""

from __future__ import annotations

import hashlib
import io
import lzma
from collections.abc import Mapping
from pathlib import Path
from typing import Any, get_args

import numpy as np

from varbench.errors import machine_failed
from varbench.leaderboard.json_files import ResultsError
from varbench.leaderboard.results import Result
from varbench.metrics.stats import PairedSamples, Statistic
from varbench.utils.files import whole_file

Rows = Mapping[int, Mapping[str, PairedSamples]]
"""Paired samples by edit seed and metric."""
Published = tuple[Result, Rows]
_COLUMNS = ("seed", "metric", "statistic", "kind", "prompt", "method", "base")
_SIDES = ("method", "base")
_KINDS: dict[str, Any] = {"hit": np.bool_, "count": np.int64, "number": np.float64}


def packed(rows: Rows) -> bytes:
    """The content of a rows file; the same rows give the same bytes."""
    import pandas as pd  # slow to load, and most reports read no rows

    parts = [
        pd.DataFrame(_columns(samples) | {"seed": seed, "metric": metric})
        for seed, by_metric in rows.items()
        for metric, samples in by_metric.items()
    ]
    table = pd.concat([pd.DataFrame(columns=_COLUMNS), *parts])
    text = table.to_csv(index=False, lineterminator="\n")
    return lzma.compress(text.encode(), preset=9 | lzma.PRESET_EXTREME)


def _columns(samples: PairedSamples) -> dict[str, Any]:
    kind = {"b": "hit", "i": "count", "u": "count"}.get(samples.method.dtype.kind, "number")
    number = np.float64 if kind == "number" else np.int64
    # As objects, for a column of hits and of numbers would write both as numbers.
    sides = {side: getattr(samples, side).astype(number).astype(object) for side in _SIDES}
    names = {"statistic": samples.statistic, "kind": kind, "prompt": samples.clusters}
    return names | sides


def sha256_of(content: bytes) -> str:
    """The `rows_sha256` of the content of a rows file."""
    return hashlib.sha256(content).hexdigest()


def write_rows(folder: Path, result: Result, content: bytes) -> None:
    """Write a rows file beside its result, into the leaderboard's folder."""
    path = folder / result.rows_path
    path.parent.mkdir(parents=True, exist_ok=True)
    with whole_file(path) as draft:
        draft.write_bytes(content)


def read_rows(folder: Path, result: Result) -> Rows:
    """The rows of a result of the leaderboard's folder.

    Raises:
        ResultsError: they are missing, damaged, or not those that the result was made of.
    """
    path = folder / result.rows_path
    fix = "restore the file, or publish again from the store"
    try:
        content = path.read_bytes()
        if sha256_of(content) == result.rows_sha256:
            return _parsed(lzma.decompress(content).decode())
    except FileNotFoundError:
        raise ResultsError(f"{path}: the rows of {result.path.name} are missing: {fix}") from None
    except Exception as error:  # a crafted archive provokes a dozen kinds
        if machine_failed(error):
            raise
        raise ResultsError(f"{path}: holds no rows ({error}): {fix}") from error
    raise ResultsError(f"{path}: not the rows that {result.path.name} was made of: {fix}")


def _parsed(text: str) -> Rows:
    import pandas as pd

    frame = pd.read_csv(io.StringIO(text), dtype=str, keep_default_na=False)
    rows: dict[int, dict[str, PairedSamples]] = {}
    for (seed, metric, statistic, kind), part in frame.groupby(list(_COLUMNS[:4]), sort=False):
        if statistic not in get_args(Statistic):
            raise ValueError(f"unknown statistic {statistic!r}; upgrade varbench")
        prompts, *sides = (np.array(part[name].tolist()) for name in ("prompt", *_SIDES))
        method, base = (side.astype(np.float64).astype(_KINDS[kind]) for side in sides)
        of_seed = rows.setdefault(int(seed), {})
        of_seed[metric] = PairedSamples(statistic, method, base, prompts)
    return rows
