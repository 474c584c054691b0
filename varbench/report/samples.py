"""The paired samples of a report's cells, by number, and the variance between their edits."""

from __future__ import annotations

from collections.abc import Mapping, Sequence

from varbench.metrics.record import MetricRecord
from varbench.metrics.stats import Between, PairedSamples, between_edits
from varbench.report.cells import CellRecord


class CellSamples:
    """The paired samples of cells."""

    def __init__(self, cells: Sequence[CellRecord]) -> None:
        self._by_suite: dict[tuple[str, str], dict[tuple[str, ...], list[CellRecord]]] = {}
        for cell in cells:
            places = self._by_suite.setdefault((cell.model, cell.suite), {})
            places.setdefault(place_of(cell), []).append(cell)
        self._between: dict[tuple[str, str, str], Between] = {}

    def of(self, record: MetricRecord) -> list[PairedSamples]:
        """The samples of a number, one per edit seed; empty if there are none."""
        cells = self._by_suite.get((record.model, record.suite), {}).get(place_of(record), ())
        return _of_metric([cell.samples for cell in cells], record.metric)

    def between(self, record: MetricRecord) -> Between:
        """Variance between edits, pooled over the methods and concepts of a number's suite."""
        key = (record.model, record.suite, record.metric)
        if key not in self._between:
            groups = self._by_suite.get((record.model, record.suite), {}).values()
            samples = ([cell.samples for cell in cells] for cells in groups if len(cells) > 1)
            self._between[key] = between_edits(_of_metric(of, record.metric) for of in samples)
        return self._between[key]


def place_of(entry: CellRecord | MetricRecord) -> tuple[str, ...]:
    """Everything that the edit seeds of one method share."""
    return entry.concept, entry.settings, entry.method, entry.config


def _of_metric(cells: Sequence[Mapping[str, PairedSamples]], metric: str) -> list[PairedSamples]:
    return [by_metric[metric] for by_metric in cells if metric in by_metric]
