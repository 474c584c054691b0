"""A report and a run read of other cells only what they need."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any
from unittest import mock

import pytest

from tests.helpers.report import put_cell
from varbench.cli.results import results_table
from varbench.report import ReportError, cell_body, load_cells, load_records
from varbench.report.cell_body import CellBody, read_body
from varbench.store import Stage, Store, next_sequence, store


def no_check(body: object) -> None:
    pass


@pytest.mark.parametrize("indent", [None, 1, 2])
def test_a_cell_reads_the_same_in_parts(tmp_path: Path, indent: int | None) -> None:
    content = {"model": 'a\n "b": {', "pictures": {"target": [{"hit": True}]}, "seed": None}
    content |= {"records": [{"value": 0.5}], "failed": {}, "inputs": ["x/y"], "empty": {}}
    with Store(tmp_path).write("cell", {}) as writer:
        (writer.dir / "cell.json").write_text(json.dumps(content, indent=indent))
    assert writer.entry is not None
    body = read_body(writer.entry, no_check)
    assert dict(body) == content and list(body) == list(content) and len(body) == len(content)
    assert body.get("nothing") is None and "pictures" in body
    assert isinstance(body, CellBody) == (indent == 1)


def test_long_parts_are_checked_when_they_are_read(tmp_path: Path) -> None:
    runs = Store(tmp_path)
    with runs.write("cell", {}) as writer:
        cell = {"model": "gallery", "method": "none", "inputs": ["pictures/" + "0" * 64]}
        cell |= {"pictures": {"target": [{"file": "../secret"}]}}
        (writer.dir / "cell.json").write_text(json.dumps(cell, indent=1))
    (read,) = load_cells(runs)
    with pytest.raises(ReportError, match="not written by varbench"):
        read.images  # noqa: B018


def test_tables_need_no_list_of_images(tmp_path: Path) -> None:
    runs = Store(tmp_path)
    cell = put_cell(runs, "none")
    (entry,) = runs.entries(Stage.CELL)
    text = json.dumps({**cell, "inputs": ["pictures/" + "0" * 64]}, indent=1)
    with runs.write("cell", {**entry.spec, "concept": "other"}) as writer:
        (writer.dir / "cell.json").write_text(text)
        (writer.dir / "rows.npz").write_bytes(entry.path("rows.npz").read_bytes())
    parsed: list[str] = []

    def read(self: CellBody, name: str) -> Any:
        parsed.append(name)
        return own(self, name)

    own = CellBody.__getitem__
    with mock.patch.object(cell_body.CellBody, "__getitem__", read):
        assert load_records(runs)
        assert "pictures" not in parsed and "records" in parsed
        assert all(cell.images for cell in load_cells(runs)) and "pictures" in parsed


def test_the_next_number_parses_no_manifest(tmp_path: Path) -> None:
    runs = Store(tmp_path)
    assert next_sequence(runs, "cell") == {"turn": 1}
    for number in (7, 30, 8):
        with runs.write("cell", {"number": number}) as writer:
            writer.meta |= {"turn": number, "nested": {"turn": 99}}
    with mock.patch.object(store, "read_entry", side_effect=AssertionError):
        assert next_sequence(runs, "cell") == {"turn": 31}


def test_the_end_of_a_run_reads_its_own_cells_only(tmp_path: Path) -> None:
    runs = Store(tmp_path)
    for method in ("none", "svare", "naive"):
        put_cell(runs, method)
    entries = [e for e in runs.entries(Stage.CELL) if e.spec["method"] != "naive"]
    with mock.patch.object(Store, "entries", side_effect=AssertionError):
        table = results_table(runs, entries)
    assert "svare" in table and "naive" not in table
