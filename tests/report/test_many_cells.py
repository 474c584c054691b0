"""A report and a run read of other cells only what they need."""

from __future__ import annotations

import json
import sys
import zipfile
import zlib
from collections import Counter
from pathlib import Path
from typing import Any
from unittest import mock

import numpy as np
import pytest

from tests.helpers.report import put_cell
from varbench.cli.results import results_table
from varbench.metrics.stats.paired_samples import PairedSamples
from varbench.metrics.stats.row_files import read_rows
from varbench.report import (
    ReportError,
    cell_body,
    image_grid,
    load_cells,
    load_records,
    records_of,
)
from varbench.report.cell_body import CellBody, read_body
from varbench.report.panels import build_panels
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


def rows_of(seed: int) -> dict[str, PairedSamples]:
    drawn = np.random.default_rng(seed)
    prompts = np.array([f"prompt {i // 2}" for i in range(40)])
    hits = drawn.random(40) < 0.5
    metrics = {"acc_n": ~hits, "acc_u": hits}
    return {
        name: PairedSamples("mean", of, np.ones(40, bool), prompts) for name, of in metrics.items()
    }


_opened: list[Counter[str] | None] = [None]


@sys.addaudithook
def _count(event: str, args: tuple[Any, ...]) -> None:
    if event == "open" and (counts := _opened[0]) is not None:
        counts[str(args[0])] += 1


def opened(store: Store) -> Counter[str]:
    """Number of times that each file of a store is opened to make its records."""
    _opened[0] = counts = Counter()
    try:
        load_records(store)
    finally:
        _opened[0] = None
    return Counter({name: n for name, n in counts.items() if name.startswith(str(store.root))})


def test_a_report_of_one_edit_each_opens_two_files_a_cell(tmp_path: Path) -> None:
    runs = Store(tmp_path / "runs")
    for concept in ("ada", "clara", "bruno"):
        for method in ("none", "svare", "naive"):
            put_cell(
                runs, method, None if method == "none" else 0, concept=concept, rows=rows_of(0)
            )
    files = opened(runs)
    assert set(files.values()) == {1}
    names = Counter(Path(name).name for name in files if "/cell/" in name)
    assert names == {"manifest.json": 9, "cell.json": 9}  # rows are for several edits and for ties
    assert len(files) == 18 + 6  # and what tells the costs of an edit


def test_a_report_of_several_edits_reads_the_rows_of_each_once(tmp_path: Path) -> None:
    runs = Store(tmp_path / "runs")
    put_cell(runs, "none", None, rows=rows_of(9))
    for seed in range(3):
        put_cell(runs, "svare", seed, rows=rows_of(seed))
        put_cell(runs, "naive", seed, concept=f"alone {seed}", rows=rows_of(seed))
    files = Counter({name: n for name, n in opened(runs).items() if "/cell/" in name})
    assert set(files.values()) == {1}
    assert (
        sum(name.endswith("rows.npz") for name in files) == 3
    )  # of the three edits of one concept


def test_rows_are_read_as_numpy_reads_them_and_shared(tmp_path: Path) -> None:
    for name in ("a", "b"):
        store = Store(tmp_path / name)
        put_cell(store, "svare", rows=rows_of(3))
    paths = [next(s.entries(Stage.CELL)).path("rows.npz") for s in (Store(tmp_path / "a"), store)]
    first, second = map(read_rows, paths)
    with np.load(paths[0]) as arrays:
        for metric, samples in first.items():
            for side in ("method", "base", "clusters"):
                array = getattr(samples, side)
                assert (array == arrays[f"{metric}.mean.{side}"]).all()
                assert array is getattr(second[metric], side)
    with zipfile.ZipFile(paths[1]) as archive:
        end = archive.infolist()[1].header_offset
    data = bytearray(paths[1].read_bytes())
    data[end - 3] ^= 1
    paths[1].write_bytes(data)
    with pytest.raises((ValueError, zlib.error)):
        read_rows(paths[1])


def test_lists_of_images_are_not_kept(tmp_path: Path) -> None:
    runs = Store(tmp_path / "runs")
    put_cell(runs, "svare")
    (cell,) = load_cells(runs)
    assert isinstance(cell.body, CellBody)
    assert cell.images == cell.images and cell.images is not cell.images
    assert cell.body["records"] is cell.body["records"]


def test_a_page_of_many_cells_shows_fewer_rows_of_images(tmp_path: Path) -> None:
    runs = Store(tmp_path / "runs")
    for method in ("none", "svare", "naive"):
        put_cell(runs, method)
    cells = load_cells(runs)
    (panel,) = build_panels(records_of(cells))
    columns = panel.cells_of(cells)
    for limit, rows in ((600, 4), (6, 2), (1, 1)):  # of 4 samples, over 3 cells
        with mock.patch.object(image_grid, "_ROWS_OF_ALL", limit):
            grids = image_grid.ImageGrid(runs, cells, cells).grids(columns)
        assert len(grids) == 3 and all(len(grid.rows) == rows for grid in grids)
