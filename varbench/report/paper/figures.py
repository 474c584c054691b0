"""Figures of results for papers, by matplotlib: vector PDF with real text, and PNG.

One look for all: the page's colour-blind safe palette with a marker per method, light axes, 8 pt.
The figures of an edit's training are those of `report/training.py`.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from itertools import chain
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np

from varbench.report import ablation_table
from varbench.report.columns import column
from varbench.report.figures import MARKERS, PALETTE, RETENTION, series
from varbench.report.image_grid import Grid, ImageGrid, columns_of, image_of
from varbench.report.panels import Panel, Value, build_panels
from varbench.report.records import BASE, Cell, ReportError, build_records, means
from varbench.report.text import visible
from varbench.report.training import PAPER_STYLE, new_figure
from varbench.report.training import figures as training_figures
from varbench.store import Store

if TYPE_CHECKING:
    from matplotlib.axes import Axes
    from matplotlib.figure import Figure

SWEPT = ("erasure_rate", "acc_u", "fid_base")
"""Metrics of an ablation's figure, where its variants have them."""


def result_figures(
    store: Store, cells: Sequence[Cell], all_cells: Sequence[Cell]
) -> Iterator[tuple[str, Figure]]:
    """File name (without ending) and figure of all that there are numbers or images for.

    Args:
        store: that holds the cells and their images.
        cells: the results to draw.
        all_cells: every cell of the store: they decide which images are covered.
    """
    panels = build_panels(build_records(cells))
    numbers = series(sorted({row.label for panel in panels for row in panel.rows}))
    book = ImageGrid(store, all_cells, cells)
    for panel in panels:
        place = (panel.model, panel.concept, panel.suite)
        name = "-".join(place).replace(" ", "-")
        mine = [c for c in cells if (c.model, c.concept, c.suite) == place]
        labels = {(row.method, row.config): row.label for row in panel.rows}
        if len(panel.rows) > 2:
            yield f"{name}-tradeoff", tradeoff_figure(panel, numbers)
        for metric in dict.fromkeys(metric for cell in mine for metric in _curves(cell)):
            yield f"{name}-{metric}", threshold_figure(mine, labels, metric, numbers)
        for grid in book.grids(columns_of(mine, labels)):
            yield f"{name}-pictures-{grid.group}", image_figure(grid)
    for name in sorted({entry.spec["name"] for entry in store.entries(ablation_table.STAGE)}):
        yield f"ablation-{name}", sweep_figure(store, ablation_table.load(store, name))


def write_figures(
    store: Store, cells: Sequence[Cell], all_cells: Sequence[Cell], out: Path
) -> list[Path]:
    """Write all figures of results and of training as PDF and PNG into a folder.

    Args:
        store, cells, all_cells: as in `result_figures`.
        out: the folder.

    Raises:
        ReportError: there is nothing to draw.
    """
    import matplotlib

    written = []
    with matplotlib.rc_context(PAPER_STYLE):
        for name, figure in chain(
            result_figures(store, cells, all_cells), training_figures(store, cells)
        ):
            out.mkdir(parents=True, exist_ok=True)
            for ending in ("pdf", "png"):
                path = out / f"{name}.{ending}"
                metadata = {"CreationDate": None} if ending == "pdf" else None
                figure.savefig(path, metadata=metadata)
                written.append(path)
    if not written:
        raise ReportError("nothing to draw: run more methods, or drop a filter")
    return written


def tradeoff_figure(panel: Panel, numbers: Mapping[str, int]) -> Figure:
    """Erasure rate against what is kept, in per cent, with 95 % intervals."""
    figure = new_figure(6.6, 2.7)
    for axes, (metric, title) in zip(figure.subplots(1, 2), RETENTION.items(), strict=True):
        for row in panel.rows:
            x, y = row.values.get("erasure_rate"), row.values.get(metric)
            if y is None or y.value is None:
                continue
            if row.method == BASE:
                axes.axhline(100 * y.value, color="0.5", linewidth=0.8, dashes=(4, 3))
            elif x is not None and x.value is not None:
                _mark(axes, 100 * x.value, x, y, visible(row.label), numbers[row.label])
        axes.set_xlabel("erasure rate, %")
        axes.set_ylabel(f"{title.lower()}, %")
    handles, labels = figure.axes[0].get_legend_handles_labels()
    figure.legend(handles, labels, frameon=False, loc="outside right center", fontsize=7)
    return figure


def _mark(axes: Axes, x: float, across: Value | None, y: Value, label: str, number: int) -> None:
    """A point in per cent with the intervals that there are."""
    axes.errorbar(
        x,
        100 * (y.value or 0.0),
        xerr=None if across is None else _arms(across),
        yerr=_arms(y),
        fmt=MARKERS[number % len(MARKERS)],
        color=PALETTE[number % len(PALETTE)],
        label=label,
        markersize=4,
        elinewidth=0.8,
    )


def _arms(value: Value) -> list[list[float]] | None:
    if value.value is None or value.low is None or value.high is None:
        return None
    return [[100 * (value.value - value.low)], [100 * (value.high - value.value)]]


def sweep_figure(store: Store, content: Mapping[str, Any]) -> Figure:
    """An ablation: its metrics over the variants in their order, with 95 % intervals."""
    labels = [str(variant["label"]) for variant in content["variants"]]
    records = [_edited(store, variant["cells"]) for variant in content["variants"]]
    shown = [m for m in SWEPT if any(m in by_metric for by_metric in records)]
    figure = new_figure(2.3 * max(1, len(shown)), 2.4)
    for axes, metric in zip(
        figure.subplots(1, max(1, len(shown)), squeeze=False)[0], shown, strict=False
    ):
        scale = 100.0 if column(metric).info.rate else 1.0
        for place, by_metric in enumerate(records):
            if metric in by_metric:
                value, low, high = (scale * number for number in by_metric[metric])
                arms = None if np.isnan(low) else [[value - low], [high - value]]
                axes.errorbar(place, value, yerr=arms, fmt="o", color=PALETTE[0], markersize=4)
        axes.set_xticks(range(len(labels)), labels, rotation=30, ha="right")
        axes.set_ylabel(column(metric).header(percent=True))
    return figure


def _edited(store: Store, keys: Sequence[str]) -> dict[str, tuple[float, float, float]]:
    """Value and interval by metric of a variant's first tested concept."""
    cells = [ablation_table.cell_of(store, key) for key in keys]
    rows = means(build_records(cells))
    rows = rows[(rows["method"] != BASE) & rows["value"].notna()]
    rows = rows[rows["concept"] == next(iter(rows["concept"]), "")]
    names = ("value", "ci_low", "ci_high")
    return {
        str(row["metric"]): (float(row[names[0]]), float(row[names[1]]), float(row[names[2]]))
        for row in rows.to_dict("records")
    }


def _curves(cell: Cell) -> Iterator[str]:
    """Metrics of a cell that were computed at several thresholds of their detector."""
    for record in cell.body.get("records", ()):
        curve = (record.get("details") or {}).get("curve")
        if isinstance(curve, Mapping) and "thresholds" in curve:
            yield str(record["metric"])


def threshold_figure(
    cells: Sequence[Cell],
    labels: Mapping[tuple[str, str], str],
    metric: str,
    numbers: Mapping[str, int],
) -> Figure:
    """A metric over the threshold from which a detection counts; the unerased model dashed."""
    figure = new_figure(3.4, 2.4)
    axes = figure.add_subplot()
    base: tuple[Any, Any] | None = None
    for label, cell in columns_of(cells, labels):
        for record in cell.body.get("records", ()):
            curve = (record.get("details") or {}).get("curve")
            if record["metric"] != metric or not isinstance(curve, Mapping):
                continue
            base = base or (curve["thresholds"], curve["base"])
            if cell.method != BASE:
                number = numbers[label]
                colour = PALETTE[number % len(PALETTE)]
                marker = MARKERS[number % len(MARKERS)]
                axes.plot(
                    curve["thresholds"], curve["method"], color=colour, marker=marker,
                    markersize=3, linewidth=1.1, label=visible(label),
                )  # fmt: skip
    if base is not None:
        axes.plot(*base, color="0.4", dashes=(4, 3), linewidth=1, label="unerased")
    axes.set_xlabel("threshold of the detector")
    axes.set_ylabel(column(metric).header())
    axes.set_ylim(bottom=0)
    axes.legend(frameon=False, fontsize=7)
    return figure


def image_figure(grid: Grid) -> Figure:
    """Images by prompt (rows) and method (columns); covered ones stay covered."""
    rows, columns = len(grid.rows), len(grid.labels)
    figure = new_figure(0.85 * columns + 1.2, 0.87 * rows + 0.3)
    panels = figure.subplots(rows, columns, squeeze=False)
    for axes, row in zip(panels, grid.rows, strict=True):
        for place, (axis, shot) in enumerate(zip(axes, row.shots, strict=True)):
            axis.set_axis_off()
            if shot is not None and shot.shown is not None:
                axis.imshow(np.asarray(image_of(shot.shown)))
            if row is grid.rows[0]:
                axis.set_title(visible(grid.labels[place]), fontsize=7)
        text = f"{visible(row.prompt)}\nseed {row.seed}"
        axes[0].text(-0.08, 0.5, text, transform=axes[0].transAxes, ha="right", va="center",
                     fontsize=5, wrap=True)  # fmt: skip
    return figure
