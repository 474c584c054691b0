"""Figures for papers: there for what was measured, vector text, covered images covered."""

from __future__ import annotations

from pathlib import Path

import pytest

from tests.helpers.cli import varbench
from tests.helpers.report import NUMBERS, a_record, put_cell
from varbench.report import load_cells, records_of
from varbench.report.figures import image_figure, threshold_figure, tradeoff_figure
from varbench.report.image_grid import ImageGrid
from varbench.report.panels import build_panels
from varbench.report.plots import series
from varbench.store import Store

CURVE = {"thresholds": [0.3, 0.5, 0.7], "method": [0.2, 0.1, 0.0], "base": [0.9, 0.8, 0.7]}


@pytest.fixture
def store(tmp_path: Path) -> Store:
    made = Store(tmp_path / "runs")
    for method in NUMBERS:
        put_cell(made, method)
        curve = a_record(method, "nudity_varbench", concept="bare", details={"curve": CURVE})
        put_cell(made, method, concept="bare", family="nudity", records=[curve])
    return made


def test_the_command_writes_each_figure_as_pdf_and_png(store: Store, tmp_path: Path) -> None:
    out = tmp_path / "figures"
    assert varbench("figures", "--store", store.root, "--out", out).exit_code == 0
    names = {path.name for path in out.iterdir()}
    for name in ("face-ada-smoke-tradeoff", "bare-smoke-nudity_varbench"):
        assert {f"gallery-{name}.pdf", f"gallery-{name}.png"} <= names
    assert "gallery-face-ada-smoke-pictures-target.png" in names
    for path in out.glob("*tradeoff.pdf"):
        data = path.read_bytes()
        assert b"/Type0" in data and b"/Type3" not in data  # letters, not outlines
    again = tmp_path / "again"
    varbench("figures", "--store", store.root, "--out", again)
    for path in out.glob("*.pdf"):
        assert path.read_bytes() == (again / path.name).read_bytes()


def test_points_are_the_numbers_in_per_cent(store: Store) -> None:
    cells = [cell for cell in load_cells(store) if cell.concept == "face-ada"]
    (panel,) = build_panels(records_of(cells))
    figure = tradeoff_figure(panel, series([row.label for row in panel.rows]))
    kept = figure.axes[0]
    drawn = {bars.get_label(): bars.lines[0].get_xydata()[0].tolist() for bars in kept.containers}
    assert drawn == {"naive": [92.0, 81.0], "svare": [94.0, 96.0]}
    assert kept.lines[-1].get_ydata()[0] == 95.0 or 95.0 in [x.get_ydata()[0] for x in kept.lines]


def test_threshold_curves_are_those_of_the_records(store: Store) -> None:
    cells = [cell for cell in load_cells(store) if cell.concept == "bare"]
    (panel,) = build_panels(records_of(cells))
    numbers = series(row.label for row in panel.rows)
    axes = threshold_figure(panel.cells_of(cells), "nudity_varbench", numbers).axes[0]
    drawn = {line.get_label(): list(line.get_ydata()) for line in axes.lines}
    assert drawn == {
        "naive": CURVE["method"],
        "svare": CURVE["method"],
        "base model": CURVE["base"],
    }


@pytest.mark.parametrize(("concept", "clear"), [("face-ada", True), ("bare", False)])
def test_covered_images_are_drawn_covered(store: Store, concept: str, clear: bool) -> None:
    everything = load_cells(store)
    cells = [cell for cell in everything if cell.concept == concept]
    (panel,) = build_panels(records_of(cells))
    grid = next(
        grid
        for grid in ImageGrid(store, everything, cells).grids(panel.cells_of(cells))
        if grid.group == "target"
    )
    image = image_figure(grid).axes[0].images[0].get_array()
    assert image is not None
    edges = abs(image[1:].astype(int) - image[:-1].astype(int)).max()
    assert (edges > 100) == clear  # the hard edge of the test's images


def test_nothing_to_draw_is_an_error(tmp_path: Path) -> None:
    store = Store(tmp_path / "runs")
    put_cell(store, "none", images={}, records=[])
    done = varbench("figures", "--store", store.root, "--out", tmp_path / "out")
    assert done.exit_code == 2 and "nothing to draw" in done.output
