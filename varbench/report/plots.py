"""Plots by matplotlib: the look and the parts that the page's plots and a paper's figures share."""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from typing import TYPE_CHECKING, Any

from varbench.methods.registry import NONE
from varbench.metrics.record import MetricRecord
from varbench.report.panels import Panel

if TYPE_CHECKING:
    from matplotlib.axes import Axes
    from matplotlib.figure import Figure

# Okabe and Ito's palette (distinct under every common colour blindness), black left out; each
# hue also has its own marker. The page has lighter tones of them for a dark ground.
PALETTE = ("#0072b2", "#d55e00", "#009e73", "#cc79a7", "#e69f00", "#56b4e9")
MARKERS = "oDs^vPX*"
RETENTION = {"acc_n": "Neighbours kept", "acc_u": "Unrelated kept"}
"""Metrics of what is kept, that a trade-off plot has as its vertical axis, and its title."""
INK = "#010203"  # of text and axes; the page replaces it by its own, so no palette has it


def series(labels: Iterable[str]) -> dict[str, int]:
    """A number per method for its colour and marker, by name; the base model has none."""
    return {name: number for number, name in enumerate(sorted(set(labels) - {NONE}))}


def style_of(number: int | None) -> dict[str, Any]:
    """Colour and marker of a method's number in `series`; of the base model ink and a dot."""
    if number is None:
        return {"color": INK, "marker": "."}
    return {"color": PALETTE[number % len(PALETTE)], "marker": MARKERS[number % len(MARKERS)]}


def new_figure(width: float, height: float) -> Figure:
    """An empty figure of so many inches, drawn without a window system."""
    from matplotlib.figure import Figure  # slow to import, and few reports need it

    return Figure(figsize=(width, height), layout="constrained")


def error_bars(record: MetricRecord, scale: float = 1.0) -> list[list[float]] | None:
    """The ends of an interval as matplotlib takes them: distances below and above the value."""
    if record.value is None or record.ci_low is None or record.ci_high is None:
        return None
    ends = (record.value - record.ci_low, record.ci_high - record.value)
    return [[scale * end] for end in ends]


def tradeoff_points(panel: Panel, metric: str) -> dict[str, tuple[MetricRecord, MetricRecord]]:
    """Erasure rate and what is kept by label, of the methods that have both numbers."""
    points = {}
    for row in panel.rows:
        x, y = row.values.get("erasure_rate"), row.values.get(metric)
        if row.method == NONE or x is None or y is None:
            continue
        if x.value is not None and y.value is not None:
            points[row.label] = (x, y)
    return points


def draw_tradeoff(
    axes: Axes, panel: Panel, metric: str, numbers: Mapping[str, int], **look: Any
) -> None:
    """Draw erasure rate against what is kept, in per cent with 95 % intervals.

    `metric` is a key of `RETENTION`, `numbers` are from `series`; `look` has the sizes, as
    `Axes.errorbar` takes them.
    """
    for label, (x, y) in tradeoff_points(panel, metric).items():
        style = style_of(numbers[label])
        axes.errorbar(
            100 * (x.value or 0.0),
            100 * (y.value or 0.0),
            xerr=error_bars(x, 100),
            yerr=error_bars(y, 100),
            label=label,
            linestyle="",
            **style,
            **look,
        )
    for row in panel.rows:
        base = row.values.get(metric)
        if row.method == NONE and base is not None and base.value is not None:
            # The base model erases nothing by definition: a level to keep, not a point, which
            # would squeeze the methods into a corner of the plot.
            axes.axhline(100 * base.value, color="0.5", linewidth=0.9, dashes=(4, 3))
    axes.set_xlabel("Erasure rate, % →")
    axes.set_ylabel(f"{RETENTION[metric]}, % →")


def add_legend(axes: Axes, **look: Any) -> None:
    """Name the methods of a trade-off plot by their markers; `look` as `Figure.legend` takes it."""
    points = axes.containers
    handles = [bars[0] for bars in points]
    labels = [str(bars.get_label()) for bars in points]
    axes.figure.legend(handles, labels, frameon=False, **look)
