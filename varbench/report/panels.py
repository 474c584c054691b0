"""A panel: the results of one model on one concept and suite with one settings, as a table.

Every table, the page and the plots draw from panels, so that they agree.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass

from varbench.methods.registry import NONE
from varbench.metrics.record import MetricRecord
from varbench.report.cells import CellRecord
from varbench.report.columns import ORDER, Column, column
from varbench.report.settings import differences
from varbench.report.text import MISSING, count, visible


@dataclass(frozen=True)
class MethodRow:
    """One method with one config, and its records (means over edit seeds) by column key.

    `label` is the method, with its config where the panel has several of it, safe to show.
    """

    method: str
    config: str
    label: str
    values: Mapping[str, MetricRecord]

    def n(self, columns: Iterable[Column]) -> str:
        """Images behind the numbers in `columns`: "400", or "200–400 × 3" for three edits."""
        values = [self.values[c.key] for c in columns if c.key in self.values]
        known = sorted({v.n for v in values if v.n})  # 0: there was nothing to measure
        failed = max((v.n_failed or 0 for v in values), default=0)
        text = MISSING.join(count(n) for n in dict.fromkeys(known[:1] + known[-1:])) or MISSING
        edits = max((v.seeds or 1 for v in values), default=1)
        text += f" × {edits}" if edits > 1 and known else ""
        return f"{text} ({count(failed)} failed)" if failed else text


@dataclass(frozen=True)
class Panel:
    """All results of one (model, concept, suite, settings), the base model's row first.

    Attributes:
        columns: the built-in metrics in fixed order, then others by id.
        differs: its settings against those of other panels of the same model, concept and suite;
            "" if there are none.
        note: that, and where rows were computed on other devices or in other precision; else "".
    """

    model: str
    concept: str
    suite: str
    settings: str
    family: str
    embedded: bool
    columns: tuple[Column, ...]
    rows: tuple[MethodRow, ...]
    differs: str = ""
    note: str = ""

    def of(self, *tables: str) -> tuple[Column, ...]:
        """The columns of some tables that at least one row has a value for."""
        keys = {k for row in self.rows for k, v in row.values.items() if v.value is not None}
        return tuple(c for c in self.columns if c.info.table in tables and c.key in keys)

    @property
    def place(self) -> tuple[str, str, str, str]:
        """The place that its cells share (`CellRecord.panel`)."""
        return self.model, self.concept, self.suite, self.settings

    @property
    def title(self) -> str:
        """The panel's name in one line, safe to show."""
        parts = (self.concept, self.model, self.suite, self.settings_name)
        return visible(" · ".join(filter(None, parts)))

    @property
    def settings_name(self) -> str:
        """Its name among panels of the same model, concept and suite; "" if there are none."""
        return f"settings {self.settings}" if self.differs else ""

    def cells_of(self, cells: Sequence[CellRecord]) -> list[tuple[str, CellRecord]]:
        """Label and cell of each method, of several edit seeds the lowest; the base model first."""
        labels = {(row.method, row.config): row.label for row in self.rows}
        first: dict[tuple[str, str], CellRecord] = {}
        for cell in sorted(cells, key=lambda cell: cell.identity):
            if cell.panel == self.place:
                first.setdefault((cell.method, cell.config), cell)
        return [(labels.get(name, name[0]), cell) for name, cell in first.items()]


def build_panels(records: Iterable[MetricRecord]) -> list[Panel]:
    """The panels of records, sorted by model, concept, suite, settings.

    They show means over edit seeds.
    """
    groups: dict[tuple[str, str, str, str], list[MetricRecord]] = {}
    for record in records:
        if record.seed is None:
            place = (record.model, record.concept, record.suite, record.settings)
            groups.setdefault(place, []).append(record)
    panels = []
    for place, of_place in sorted(groups.items()):
        columns, keys = _columns(of_place)
        first, rows = of_place[0], _rows(of_place, keys)
        others = [
            of_other[0].conditions
            for other, of_other in groups.items()
            if other != place and other[:3] == place[:3]
        ]
        differs = visible(differences(first.conditions, others)) if others else ""
        note = " ".join(
            [*[f"Settings {first.settings}: {differs}."] * bool(differs), _machines(of_place)]
        ).strip()
        panels.append(Panel(*place, first.family, first.embedded, columns, rows, differs, note))
    return panels


def _machines(records: Sequence[MetricRecord]) -> str:
    """Devices and precisions of the rows; empty where it was one for all."""
    methods: dict[str, set[str]] = {}
    for record in records:
        if record.machine:
            methods.setdefault(record.machine, set()).add(record.method)
    if len(methods) < 2:
        return ""
    by_method = sorted(methods.items(), key=lambda item: (min(item[1]), item[0]))
    parts = [f"{', '.join(sorted(names))} on {machine}" for machine, names in by_method]
    differ = "Not all was computed alike, so small differences may be rounding"
    return visible(f"{differ}: {'; '.join(parts)}.")


def _columns(
    records: Sequence[MetricRecord],
) -> tuple[tuple[Column, ...], dict[tuple[str, str], str]]:
    """The columns of a panel, and the column key of each (metric, prompt set) in it."""
    sets: dict[str, set[str]] = {}
    for record in records:
        sets.setdefault(record.metric, set()).add(record.prompt_set)
    columns: list[Column] = []
    keys: dict[tuple[str, str], str] = {}
    for metric in (*ORDER, *sorted(set(sets) - set(ORDER))):
        names = sorted(sets.get(metric, ()))
        # Rates on two prompt sets are two numbers, never to be mixed: a column each.
        for prompt_set in names if len(names) > 1 else [None]:
            shown = column(metric, prompt_set)
            columns.append(shown)
            keys |= {(metric, name): shown.key for name in names if prompt_set in (None, name)}
    return tuple(columns), keys


def _rows(
    records: Sequence[MetricRecord], keys: Mapping[tuple[str, str], str]
) -> tuple[MethodRow, ...]:
    values: dict[tuple[str, str], dict[str, MetricRecord]] = {}
    for record in records:
        by_key = values.setdefault((record.method, record.config), {})
        by_key[keys[record.metric, record.prompt_set]] = record
    methods = [method for method, _ in values]
    rows = []
    for (method, config), by_key in values.items():
        label = f"{method} ({config})" if methods.count(method) > 1 else method
        rows.append(MethodRow(method, config, visible(label), by_key))
    return tuple(sorted(rows, key=lambda row: (row.method != NONE, row.method, row.config)))
