"""Numbers of results files from their rows, as a report computes those of a store.

The variance between edits is pooled over all files of a leaderboard: writing some of them renews
the intervals of the others. So does code that computes intervals in another way.
"""

from __future__ import annotations

import math
from collections.abc import Iterator, Mapping, Sequence
from itertools import groupby
from pathlib import Path
from typing import Any

from varbench.leaderboard.json_files import ResultsError
from varbench.leaderboard.records import cells_of, metric_values, records_of
from varbench.leaderboard.results import (
    EDITED,
    SUPERSEDED,
    MetricValues,
    Result,
    read,
    results_files,
    write,
)
from varbench.leaderboard.rows import Published, Rows, packed, read_rows, sha256_of, write_rows
from varbench.methods.registry import NONE
from varbench.metrics.estimates import sampled_value
from varbench.metrics.record import MetricRecord
from varbench.report.columns import column
from varbench.report.records import with_means
from varbench.report.samples import CellSamples


def renew(folder: Path, measured: Sequence[Published] = ()) -> list[Path]:
    """Write results with their rows, and all others of a leaderboard with the numbers of theirs.

    Superseded results stay as they are.

    Returns:
        The files of `measured`, and others that changed.

    Raises:
        ResultsError: a file or its rows cannot be read, or it was edited by hand. Nothing is
            written then.
    """
    contents = {result.path: packed(rows) for result, rows in measured}
    hashed = [
        (result.model_copy(update={"rows_sha256": sha256_of(contents[result.path])}), rows)
        for result, rows in measured
    ]
    paths = [path for path in results_files(folder) if path.relative_to(folder) not in contents]
    others = [read(path) for path in paths]
    for result in others:
        if result.sha256 != result.content_sha256():
            raise ResultsError(f"{folder / result.path} {EDITED}")
    kept = [r for r in others if r.status != SUPERSEDED and r.rows_sha256]
    published = [*hashed, *((result, read_rows(folder, result)) for result in kept)]
    written = []
    for (before, _), result in zip(published, recomputed(published), strict=True):
        if (content := contents.get(result.path)) is not None:
            write_rows(folder, result, content)
        if content is not None or result != before:
            written.append(write(folder, result))
    return sorted(written)


def recomputed(published: Sequence[Published]) -> list[Result]:
    """The same results with every value, interval and difference that their rows give.

    Of a metric without rows, such as FID, the mean is computed again from its seeds.

    Args:
        published: a whole leaderboard, as the variance between edits is pooled over it.

    Raises:
        ResultsError: the rows of one give no value.
    """
    rows_of = {result.path: rows for result, rows in published}
    cells = cells_of([result for result, _ in published], lambda result: rows_of[result.path])
    samples = CellSamples(cells)
    results = []
    for result, rows in published:
        try:
            results.append(_recomputed(result, rows, samples))
        except (ValueError, ArithmeticError) as error:
            raise ResultsError(f"{result.rows_path}: gives no values ({error})") from error
    return results


def _recomputed(result: Result, rows: Rows, samples: CellSamples) -> Result:
    of_seeds = [_of_rows(r, rows) for r in records_of([result]) if r.seed is not None]
    records = with_means(of_seeds, samples)
    numbers = groupby(records, lambda record: (record.metric, record.prompt_set))
    means = {name: list(of_metric) for name, of_metric in numbers}
    metrics = []
    for metric in result.metrics:
        mean, *each = means[metric.metric, metric.prompt_set]
        of_metric = [rows[seed][metric.metric] for seed in rows if metric.metric in rows[seed]]
        statistic = of_metric[0].statistic if of_metric else None
        metrics.append(metric_values(mean, each, metric.version, statistic, metric.note))
    return result.model_copy(update={"metrics": tuple(metrics)}).hashed()


def _of_rows(record: MetricRecord, rows: Rows) -> MetricRecord:
    """The record of one edit seed with the numbers that its rows give."""
    samples = rows.get(record.seed or 0, {}).get(record.metric)
    if samples is None:
        return record
    value = sampled_value(samples, record.n or 0, record.note, record.details)
    info = column(record.metric).info
    return record.with_numbers(value.recorded(info, of_base=record.method == NONE))


def mismatches(metric: MetricValues, again: MetricValues) -> Iterator[str]:
    """The first number of a metric that is not the recomputed one, and how many more are not."""
    ours, theirs = (dict(_numbers(values.model_dump())) for values in (metric, again))
    # Six significant digits are rounded, of a mean also those that it is the mean of.
    near = 1e-6 * max(abs(n) for n in (*theirs.values(), 0.0) if isinstance(n, float))
    wrong = [name for name in ours | theirs if not _same(ours.get(name), theirs.get(name), near)]
    if wrong:
        name, more = wrong[0], f" (and {len(wrong) - 1} more)" if wrong[1:] else ""
        yield (
            f"{name} is {ours.get(name)}, but its rows and seeds give {theirs.get(name)}{more}: "
            "if they are right, run varbench publish --from-rows"
        )


def _numbers(part: Mapping[str, Any], of: str = "") -> Iterator[tuple[str, Any]]:
    """All numbers of a metric by name, those of its seeds after its own."""
    for name, value in part.items():
        if name == "seeds":
            for seed in value:
                yield from _numbers(seed, f" of seed {seed['seed']}")
        elif isinstance(value, dict):
            yield from _numbers({f"{name}.{end}": value[end] for end in value}, of)
        else:
            yield f"{name}{of}", value


def _same(a: Any, b: Any, near: float) -> bool:
    if isinstance(a, float) and isinstance(b, float):
        return math.isclose(a, b, rel_tol=1e-5, abs_tol=near)
    return bool(a == b)
