"""The cells of a store as records: one `MetricRecord` per number.

A cell (one model, method, concept, suite and edit seed) stores its records; here the costs of its
edit (`costs`) and the means over edit seeds (records without a seed) are added.

Value, interval and difference of a mean come from the paired samples that cells keep
(`varbench.metrics.stats.paired_samples`): the seeds' images together, resampled by prompt. A number
that is no mean over images has none: its mean is that of the seeds, and the ends of its interval
are the means of the seeds' ends (a mean never varies more than its parts do on average, so this is
not too narrow), or absent.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import replace
from typing import Any

import numpy as np
import pandas as pd

from varbench.metrics.record import FRAME_FIELDS, MetricRecord
from varbench.metrics.stats.paired_samples import Estimate, PairedSamples, estimate
from varbench.report.cells import CellRecord, Filters, ReportError, load_cells, select
from varbench.store import Store

_DTYPES = {
    **{name: "Int64" for name in ("seed", "n", "n_failed", "seeds")},
    **{name: "float64" for name in ("value", "ci_low", "ci_high", "baseline")},
    **{name: "float64" for name in ("diff_value", "diff_low", "diff_high", "seed_min", "seed_max")},
    "embedded": "bool",
}


def records_of(cells: Sequence[CellRecord]) -> list[MetricRecord]:
    """All records of cells: the mean over edit seeds first, then the seeds it is made of."""
    numbers: dict[tuple[Any, ...], list[tuple[MetricRecord, CellRecord]]] = {}
    for cell in cells:
        for record in cell.records():
            numbers.setdefault(_number_of(record), []).append((record, cell))
    records: list[MetricRecord] = []
    for pairs in numbers.values():
        seeds = [record for record, _ in pairs]
        if not any(record.seed is None for record in seeds):  # else no edit made the images
            records.append(_mean(seeds, [cell.samples for _, cell in pairs]))
        records += sorted(seeds, key=lambda record: -1 if record.seed is None else record.seed)
    return records


def _number_of(record: MetricRecord) -> tuple[Any, ...]:
    """Everything that the edit seeds of one number share."""
    place = (
        record.model,
        record.method,
        record.config,
        record.concept,
        record.suite,
        record.settings,
    )
    return (*place, record.prompt_set, record.metric)


def to_frame(records: Iterable[MetricRecord]) -> pd.DataFrame:
    """A row per record with the columns `FRAME_FIELDS`; missing numbers are NaN or NA."""
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


def _mean(
    seeds: Sequence[MetricRecord], samples: Sequence[Mapping[str, PairedSamples]]
) -> MetricRecord:
    """The mean over edit seeds; `samples[i]` are the paired samples of the i-th seed, by metric."""
    first = seeds[0]
    # A seed without a value says that nothing could be measured: it only counts in n.
    measured = [i for i, record in enumerate(seeds) if record.value is not None]
    numbers: dict[str, Any] = {
        name: _average([getattr(seeds[i], name) for i in measured])
        for name in ("value", "baseline", "diff_value")
    }
    for name in ("ci_low", "ci_high", "diff_low", "diff_high"):
        numbers[name] = _average([getattr(seeds[i], name) for i in measured], complete=True)
    for name in ("n", "n_failed"):
        numbers[name] = _total([getattr(record, name) for record in seeds])
    pooled = _pooled([samples[i].get(first.metric) for i in measured])
    if pooled is not None:
        value, by = pooled.value, pooled.difference
        numbers |= {"value": value.value, "ci_low": value.low, "ci_high": value.high}
        numbers |= {"diff_value": by.value, "diff_low": by.low, "diff_high": by.high}
    values = [record.value for record in seeds if record.value is not None]
    return replace(
        first,
        seed=None,
        seeds=len(values),
        seed_min=min(values, default=None),
        seed_max=max(values, default=None),
        status=next((r.status for r in seeds if r.status != "measured"), "measured"),
        machine="; ".join(sorted({record.machine for record in seeds})),
        **numbers,
    )


def _average(numbers: Sequence[float | None], *, complete: bool = False) -> float | None:
    """The mean of the numbers that are not None; None if none is left, or (`complete`) not all."""
    present = [number for number in numbers if number is not None]
    if not present or (complete and len(present) < len(numbers)):
        return None
    return float(np.mean(present))


def _total(counts: Sequence[int | None]) -> int | None:
    present = [count for count in counts if count is not None]
    return sum(present) if present else None


def _pooled(samples: Sequence[PairedSamples | None]) -> Estimate | None:
    """The estimate over several seeds, where all of them have samples."""
    present = [one for one in samples if one is not None]
    return estimate(present) if len(samples) == len(present) > 1 else None
