"""Figures that papers and their repositories report, kept apart from everything measured here.

One JSON file per source in `results/reported/`, in the form of `Reported`. Figures are texts, as
printed, and "" where the source gives none. Those of S-VARE's ablations are in
`varbench/conf/ablation/`, next to the variants they belong to, and only there.
"""

from __future__ import annotations

from pathlib import Path
from typing import Annotated, Literal

from pydantic import Field, StringConstraints, model_validator

from varbench.leaderboard.json_files import Name, Part, ResultsError, read_as
from varbench.report.render import FORMS
from varbench.report.table import Header, Row, Table, TableCell
from varbench.report.text import MISSING

_READ = {
    "paper": "figures read in the paper",
    "repository": "figures read in what the authors publish besides the paper",
    "abstract": "figures read in the abstract",
    "secondhand": "figures at second hand, the paper was not at hand",
}
Figure = Annotated[str, StringConstraints(pattern=r"^(-?\d+(\.\d+)?)?$")]
Text = Annotated[str, StringConstraints(min_length=1)]


class Source(Part):
    """The source of figures.

    Attributes:
        citation: the work that they are of.
        url: of the work.
        read: the text they were read in, if not the work itself.
        certainty: how close that is to the work.
    """

    citation: Text
    url: Annotated[str, StringConstraints(pattern=r"^https://")]
    read: str
    certainty: Literal["paper", "repository", "abstract", "secondhand"]


class ReportedColumn(Part):
    """A column as the source has it; `better` is "up", "down" or "" (not said)."""

    name: Text
    unit: str
    better: Literal["up", "down", ""]


class ReportedRow(Part):
    """A method's figures, one per column."""

    method: Text
    figures: tuple[Figure, ...]


class ReportedTable(Part):
    """A table of a source.

    Attributes:
        model: the model that concepts were erased from.
        protocol: prompts, counts and judges, as far as they are known.
        note: a further remark for readers; "" if there is none.
    """

    title: Text
    model: Text
    protocol: Text
    note: str
    columns: tuple[ReportedColumn, ...] = Field(min_length=1)
    rows: tuple[ReportedRow, ...] = Field(min_length=1)

    @model_validator(mode="after")
    def _check_rows(self) -> ReportedTable:
        methods = [row.method for row in self.rows]
        for row in self.rows:
            if len(row.figures) != len(self.columns):
                raise ValueError(
                    f"{row.method} has {len(row.figures)} figures for {len(self.columns)} columns; "
                    'use "" for gaps'
                )
            if methods.count(row.method) > 1:
                raise ValueError(f"{row.method} has two rows")
        return self

    def table(self, source: str) -> Table:
        """The table as it is shown; `source` ends its note."""
        header = [Header(column.name, column.unit, column.better) for column in self.columns]
        rows = [
            Row((row.method,), tuple(TableCell(figure or MISSING) for figure in row.figures))
            for row in self.rows
        ]
        title = f"{self.title} · {self.model} · reported"
        note = " ".join(f"Protocol: {self.protocol}. {self.note} {source}".split())
        return Table(
            "reported", title, ("method",), tuple(header), tuple(rows), note, counted=False
        )


class Reported(Part):
    """A file of reported figures; `name` is the file's, without its ending."""

    schema_version: Literal[1]
    status: Literal["reported"]
    name: Name
    source: Source
    tables: tuple[ReportedTable, ...] = Field(min_length=1)


def load_reported(folder: Path) -> list[Reported]:
    """All files of a folder, by name.

    Raises:
        ResultsError: one is malformed, or has another name inside.
    """
    return [read_reported(path) for path in sorted(folder.glob("*.json"))]


def read_reported(path: Path) -> Reported:
    """One file. Raises ResultsError as `load_reported`."""
    reported = read_as(Reported, path)
    if reported.name != path.stem:
        raise ResultsError(f"{path}: its name is {reported.name!r}; give both the same")
    return reported


def render_reported(folder: Path, form: str) -> str:
    """All reported tables as text: for the terminal (``table``), ``md`` or ``latex``.

    Raises:
        ResultsError: a file is malformed.
    """
    preface = (
        "Reported by papers, not measured here: other models, prompts and judges. Do not compare "
        "these figures with measured ones, nor those of one paper with those of another."
    )
    parts = [f"{'% ' if form == 'latex' else ''}{preface}\n"]
    for reported in load_reported(folder):
        source = reported.source
        read = f"Source: {source.citation}, {source.url}; {_READ[source.certainty]}. {source.read}"
        parts += [FORMS[form](table.table(read)) for table in reported.tables]
    return "\n".join(parts)
