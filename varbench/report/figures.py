"""Figures of results for papers, by matplotlib: vector PDF with real text, and PNG.

One look for all: the page's colour-blind safe palette with a marker per method, light axes, 8 pt.
"""

from __future__ import annotations

import base64
import io
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import replace
from itertools import chain
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np
from PIL import Image

from varbench.methods.registry import NONE
from varbench.metrics.record import MetricRecord
from varbench.report import ablation_table
from varbench.report.cells import CellRecord, ReportError
from varbench.report.columns import column
from varbench.report.image_grid import Grid, ImageGrid
from varbench.report.panels import Panel, build_panels
from varbench.report.plots import (
    PALETTE,
    RETENTION,
    add_legend,
    draw_tradeoff,
    error_bars,
    new_figure,
    series,
    style_of,
)
from varbench.report.records import records_of
from varbench.report.text import visible
from varbench.report.training_figures import training_figures
from varbench.store import Store
from varbench.utils.files import file_name

if TYPE_CHECKING:
    from matplotlib.figure import Figure

_PAPER_STYLE: dict[Any, Any] = {
    "pdf.fonttype": 42,  # fonts embedded whole, so that text can be searched and edited
    "font.size": 8,
    "axes.spines.top": False,
    "axes.spines.right": False,
    "savefig.dpi": 200,
}


def _result_figures(
    store: Store, cells: Sequence[CellRecord], all_cells: Sequence[CellRecord]
) -> Iterator[tuple[str, Figure]]:
    """File name (without ending) and figure of all that there are numbers or images for."""
    panels = build_panels(records_of(cells))
    numbers = series(row.label for panel in panels for row in panel.rows)
    images = ImageGrid(store, all_cells, cells)
    for panel in panels:
        parts = (panel.model, panel.concept, panel.suite, panel.settings_name)
        name = "-".join(filter(None, parts))
        columns = panel.cells_of(cells)
        if len(panel.rows) > 2:
            yield f"{name}-tradeoff", tradeoff_figure(panel, numbers)
        for metric in dict.fromkeys(m for _, cell in columns for m in _threshold_curves(cell)):
            yield f"{name}-{metric}", threshold_figure(columns, metric, numbers)
        for grid in images.grids(columns):
            yield f"{name}-pictures-{grid.group}", image_figure(grid)
    for run in ablation_table.load_all(store):
        yield f"ablation-{run.name}", _sweep_figure(store, run.content)


def write_figures(
    store: Store, cells: Sequence[CellRecord], all_cells: Sequence[CellRecord], out: Path
) -> list[Path]:
    """Write all figures of results and of training as PDF and PNG into a folder.

    `all_cells` are those of the whole store: they decide which images are covered.

    Raises:
        ReportError: there is nothing to draw.
    """
    import matplotlib

    written = []
    with matplotlib.rc_context(_PAPER_STYLE):
        for name, figure in chain(
            _result_figures(store, cells, all_cells), training_figures(cells)
        ):
            out.mkdir(parents=True, exist_ok=True)
            for ending in ("pdf", "png"):
                path = out / file_name(f"{name}.{ending}")
                metadata = {"CreationDate": None} if ending == "pdf" else None
                figure.savefig(path, metadata=metadata)
                written.append(path)
    if not written:
        raise ReportError("nothing to draw: run more methods, or drop a filter")
    return written


def tradeoff_figure(panel: Panel, numbers: Mapping[str, int]) -> Figure:
    """Erasure rate against what is kept, in per cent, with 95 % intervals."""
    figure = new_figure(6.6, 2.7)
    for axes, metric in zip(figure.subplots(1, len(RETENTION)), RETENTION, strict=True):
        draw_tradeoff(axes, panel, metric, numbers, markersize=4, elinewidth=0.8)
    add_legend(figure.axes[0], loc="outside right center", fontsize=7)
    return figure


def _sweep_figure(store: Store, ablation: Mapping[str, Any]) -> Figure:
    """An ablation: its metrics over the variants in their order, with 95 % intervals."""
    labels = [str(variant["label"]) for variant in ablation["variants"]]
    variants = [_by_metric(store, variant) for variant in ablation["variants"]]
    swept = ("erasure_rate", "acc_u", "fid_base")
    metrics = [m for m in swept if any(m in by_metric for by_metric in variants)]
    count = max(1, len(metrics))
    figure = new_figure(2.3 * count, 2.4)
    panels = figure.subplots(1, count, squeeze=False)[0]
    for axes, metric in zip(panels, metrics, strict=False):  # without metrics it stays empty
        shown = column(metric)
        scale = 100.0 if shown.info.rate else 1.0
        for place, by_metric in enumerate(variants):
            if metric in by_metric:
                record = by_metric[metric]
                axes.errorbar(
                    place,
                    scale * (record.value or 0.0),
                    yerr=error_bars(record, scale),
                    fmt="o",
                    color=PALETTE[0],
                    markersize=4,
                )
        axes.set_xticks(range(len(labels)), labels, rotation=30, ha="right")
        axes.set_ylabel(shown.header().text)
    return figure


def _by_metric(store: Store, variant: Mapping[str, Any]) -> dict[str, MetricRecord]:
    """The records of a variant's first tested concept."""
    records = [
        record
        for record in ablation_table.variant_records(store, variant)
        if record.method != NONE and record.value is not None
    ]
    return {record.metric: record for record in records if record.concept == records[0].concept}


def _threshold_curves(cell: CellRecord) -> dict[str, Mapping[str, Any]]:
    """By metric, the curves of a cell over thresholds of their detector."""
    curves = {}
    for record in cell.body.get("records", ()):
        curve = (record.get("details") or {}).get("curve")
        if isinstance(curve, Mapping) and "thresholds" in curve:
            curves[str(record["metric"])] = curve
    return curves


def threshold_figure(
    columns: Sequence[tuple[str, CellRecord]], metric: str, numbers: Mapping[str, int]
) -> Figure:
    """A metric over the threshold from which a detection counts; the base model dashed."""
    figure = new_figure(3.4, 2.4)
    axes = figure.add_subplot()
    base = None
    for label, cell in columns:
        curve = _threshold_curves(cell).get(metric)
        if curve is None:
            continue
        base = base or (curve["thresholds"], curve["base"])
        if cell.method != NONE:
            axes.plot(
                curve["thresholds"],
                curve["method"],
                **style_of(numbers[label]),
                markersize=3,
                linewidth=1.1,
                label=label,
            )
    if base is not None:
        axes.plot(*base, color="0.4", dashes=(4, 3), linewidth=1, label="base model")
    axes.set_xlabel("threshold of the detector")
    axes.set_ylabel(replace(column(metric), percent=False).header().text)
    axes.set_ylim(bottom=0)
    axes.legend(frameon=False, fontsize=7)
    return figure


def image_figure(grid: Grid) -> Figure:
    """Images by prompt (rows) and method (columns); covered ones stay covered."""
    rows, columns = len(grid.rows), len(grid.labels)
    figure = new_figure(0.85 * columns + 1.2, 0.87 * rows + 0.3)
    panels = figure.subplots(rows, columns, squeeze=False)
    for axes, label in zip(panels[0], grid.labels, strict=True):
        axes.set_title(label, fontsize=7)
    for row_axes, row in zip(panels, grid.rows, strict=True):
        for axes, cell in zip(row_axes, row.cells, strict=True):
            axes.set_axis_off()
            if cell is not None and cell.shown is not None:
                data = base64.b64decode(cell.shown.partition(",")[2])
                with Image.open(io.BytesIO(data)) as image:
                    axes.imshow(np.asarray(image.convert("RGB")))
        text = f"{visible(row.prompt)}\nseed {row.seed}"
        first = row_axes[0]
        first.text(-0.08, 0.5, text, transform=first.transAxes, ha="right", va="center",
                   fontsize=5, wrap=True)  # fmt: skip
    return figure
