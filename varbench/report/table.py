"""A table, ready to be set: what `varbench.report.render` turns into text and the page shows.

Every table of varbench is one: those of a report, of a paper, of an ablation, of figures that
papers report, and README's.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass

from varbench.metrics.base import Better

ARROWS: dict[Better, str] = {"up": "↑", "down": "↓", "same": "≈", "": ""}


@dataclass(frozen=True)
class TableCell:
    """One number of a table.

    Attributes:
        text: the number, or an en dash.
        interval: its 95 % interval in brackets, or "".
        status: "" for a measured number, else a word such as "reported".
        value: that a page sorts by; None if there is none.
        explanation: definition, n and baseline, for hovering.
        best: the best of its column, or tied with it.
    """

    text: str
    interval: str = ""
    status: str = ""
    value: float | None = None
    explanation: str = ""
    best: bool = False

    def number(self) -> str:
        """Number and status, such as "0.97 (reported)"."""
        return f"{self.text} ({self.status})" if self.status else self.text

    def parts(self) -> list[str]:
        """Number, interval and status, those that there are."""
        status = f"({self.status})" if self.status else ""
        return [part for part in (self.text, self.interval, status) if part]

    def plain(self) -> str:
        """Everything in one line, such as "0.97 [0.94, 0.99] (reported)"."""
        return " ".join(self.parts())


@dataclass(frozen=True)
class Header:
    """The head of a column of numbers.

    Attributes:
        name: title of the numbers.
        unit: of the numbers, or "".
        better: "up", "down", "same" or "" (not known): where they should go.
        definition: of the numbers, for hovering.
    """

    name: str
    unit: str = ""
    better: Better = ""
    definition: str = ""

    @property
    def sign(self) -> str:
        """Unit and direction, such as "% ↑"."""
        return f"{self.unit} {ARROWS[self.better]}".strip()

    @property
    def text(self) -> str:
        """Title, unit and direction."""
        return f"{self.name} {self.sign}".strip()


@dataclass(frozen=True)
class Row:
    """A row: its labels, a cell per column of numbers, and n as text."""

    labels: tuple[str, ...]
    cells: tuple[TableCell, ...]
    n: str = ""


@dataclass(frozen=True)
class Table:
    """A table, ready to be set.

    Attributes:
        name: short, for file names and references.
        labels: heads of the columns of labels, which come first.
        header: heads of the columns of numbers.
        note: what a reader must know; stands below it.
        counted: the last column is n.
    """

    name: str
    title: str
    labels: tuple[str, ...]
    header: tuple[Header, ...]
    rows: tuple[Row, ...]
    note: str = ""
    counted: bool = True

    def headers(self) -> list[str]:
        """The heads of all columns."""
        return [*self.labels, *(head.text for head in self.header), *["n"] * self.counted]

    def texts(
        self,
        cell: Callable[[TableCell], str] = TableCell.plain,
        other: Callable[[str], str] = str,
    ) -> list[list[str]]:
        """All rows as text: `cell` shows numbers, `other` labels and n."""
        return [
            [
                *map(other, row.labels),
                *map(cell, row.cells),
                *([other(row.n)] if self.counted else []),
            ]
            for row in self.rows
        ]
