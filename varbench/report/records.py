"""The cells of a store as records: one `MetricRecord` per number.

A cell (one model, method, concept, suite and edit seed) stores its records; here the costs of its
edit (`costs`) and the means over edit seeds (records without a seed) are added.

Value, interval and difference of a mean come from the paired samples that cells keep
(`varbench.metrics.stats.paired_samples`), over prompts and edits. A number that is no mean over
images has none: its mean is that of the seeds, and the ends of its interval are the means of the
seeds' ends (a mean never varies more than its parts do on average, so for other prompts this is not
too narrow; other edits it does not speak of), or absent.
"""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from dataclasses import replace
from typing import TYPE_CHECKING, Any

import numpy as np

from varbench.metrics.record import FRAME_FIELDS, MetricRecord
from varbench.metrics.stats import estimate
from varbench.report.cells import CellRecord, Filters, ReportError, load_cells, select
from varbench.report.columns import column
from varbench.report.samples import CellSamples, place_of
from varbench.store import Store

if TYPE_CHECKING:
    import pandas as pd

_DTYPES = {
    **{name: "Int64" for name in ("seed", "n", "n_failed", "seeds", "edit_df")},
    **{name: "float64" for name in ("value", "ci_low", "ci_high", "baseline")},
    **{name: "float64" for name in ("diff_value", "diff_low", "diff_high", "seed_min", "seed_max")},
    "embedded": "bool",
}


def records_of(cells: Sequence[CellRecord]) -> list[MetricRecord]:
    """All records of cells: the mean over edit seeds first, then the seeds it is made of."""
    return with_means((record for cell in cells for record in cell.records()), CellSamples(cells))


def with_means(of_seeds: Iterable[MetricRecord], samples: CellSamples) -> list[MetricRecord]:
    """Records of single edits with their means, as `records_of` orders them."""
    numbers: dict[tuple[Any, ...], list[MetricRecord]] = {}
    for record in of_seeds:
        numbers.setdefault(_number_of(record), []).append(record)
    records: list[MetricRecord] = []
    for seeds in numbers.values():
        if not any(record.seed is None for record in seeds):  # else no edit made the images
            records.append(_mean(seeds, samples))
        records += sorted(seeds, key=lambda record: -1 if record.seed is None else record.seed)
    return records


def _number_of(record: MetricRecord) -> tuple[Any, ...]:
    """Everything that the edit seeds of one number share."""
    place = (record.model, record.suite, *place_of(record))
    return (*place, record.prompt_set, record.metric)


def to_frame(records: Iterable[MetricRecord]) -> pd.DataFrame:
    """A row per record with the columns `FRAME_FIELDS`; missing numbers are NaN or NA."""
    import pandas as pd  # slow to load, and few reports need it

    rows = [[getattr(record, name) for name in FRAME_FIELDS] for record in records]
    return pd.DataFrame(rows, columns=list(FRAME_FIELDS)).astype(_DTYPES)


def load_records(store: Store, filters: Filters | None = None) -> list[MetricRecord]:
    """`records_of` the cells of `store` that `filters` accept. Raises ReportError."""
    return records_of(select(load_cells(store), filters or Filters()))


def only_metrics(records: Sequence[MetricRecord], metrics: Sequence[str]) -> list[MetricRecord]:
    """The records of some metrics. Raises ReportError for one that no cell has."""
    known = sorted({record.metric for record in records})
    for name in metrics:
        if name not in known:
            raise ReportError(f"no results for metric {name!r}; there are: {', '.join(known)}")
    return [record for record in records if record.metric in metrics]


def _mean(seeds: Sequence[MetricRecord], samples: CellSamples) -> MetricRecord:
    """The mean over edit seeds."""
    first = seeds[0]
    if len(seeds) == 1 and first.value is not None:
        return replace(first, seed=None)
    # A seed without a value says that nothing could be measured.
    measured = [record for record in seeds if record.value is not None]
    numbers: dict[str, Any] = {
        name: _average([getattr(record, name) for record in measured])
        for name in ("value", "baseline", "diff_value")
    }
    for name in ("ci_low", "ci_high", "diff_low", "diff_high"):
        numbers[name] = _average([getattr(record, name) for record in measured], complete=True)
    if len(measured) > 1:
        numbers |= _pooled(first, len(measured), samples)
    values = [record.value for record in seeds if record.value is not None]
    sizes = [record.n for record in seeds if record.n is not None]
    failures = [record.n_failed for record in seeds if record.n_failed is not None]
    return replace(
        first,
        seed=None,
        n=min(sizes, default=None),
        n_failed=max(failures, default=None),
        seeds=len(measured),
        seed_min=min(values, default=None),
        seed_max=max(values, default=None),
        status=next((r.status for r in seeds if r.status != "measured"), "measured"),
        machine="; ".join(sorted({record.machine for record in seeds})),
        **numbers,
    )


def _pooled(record: MetricRecord, edits: int, samples: CellSamples) -> dict[str, Any]:
    """Value, interval and difference over edits; empty without the samples of each."""
    rows = samples.of(record)
    between = samples.between(record) if len(rows) == edits else None
    if between is None or (estimated := estimate(rows, between)) is None:
        return {}
    value, by = estimated.value, estimated.difference
    low, high = column(record.metric).info.within(value.low, value.high)
    return {
        "value": value.value,
        "ci_low": low,
        "ci_high": high,
        "diff_value": by.value,
        "diff_low": by.low,
        "diff_high": by.high,
        "edit_df": between.value.df,
    }


def _average(numbers: Sequence[float | None], *, complete: bool = False) -> float | None:
    """The mean of the numbers that are not None; None if none is left, or (`complete`) not all."""
    present = [number for number in numbers if number is not None]
    if not present or (complete and len(present) < len(numbers)):
        return None
    return float(np.mean(present))
