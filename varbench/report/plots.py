"""Plots by matplotlib: the look that all share, and those of the page, as SVG with real text.

The page's plots are embedded in HTML: lines and text take its colours (`currentColor` and the CSS
variables `--series-N`), so one drawing serves light and dark. A paper's figures are drawn in
`varbench.report.paper.figures`.
"""

from __future__ import annotations

import io
import math
import re
from collections.abc import Callable, Iterable, Mapping, Sequence
from typing import TYPE_CHECKING, Any

from varbench.methods.registry import NONE
from varbench.metrics.record import MetricRecord
from varbench.report.cells import CellRecord
from varbench.report.curves import drift_by_scale, kept_by_scale
from varbench.report.panels import Panel
from varbench.report.text import visible
from varbench.store import Store

if TYPE_CHECKING:
    from matplotlib.axes import Axes
    from matplotlib.figure import Figure

# Okabe and Ito's palette (distinct under every common colour blindness), black left out; each
# hue also has its own marker. The page has lighter tones of them for a dark ground.
PALETTE = ("#0072b2", "#d55e00", "#009e73", "#cc79a7", "#e69f00", "#56b4e9")
MARKERS = "oDs^vPX*"
RETENTION = {"acc_n": "Neighbours kept", "acc_u": "Unrelated kept"}
"""Metrics of what is kept, that a trade-off plot has as its vertical axis, and its title."""
_LEGEND_COLUMNS = 3
_INK = "#010203"  # stands for currentColor until the SVG is done; no palette has it
_PAGE_STYLE: dict[Any, Any] = {
    "svg.fonttype": "none",  # text stays text: sharp, selectable, in the page's own font
    "font.size": 11,
    "text.color": _INK,
    "axes.edgecolor": _INK,
    "axes.labelcolor": _INK,
    "xtick.color": _INK,
    "ytick.color": _INK,
    "axes.spines.top": False,
    "axes.spines.right": False,
    "axes.linewidth": 0.8,
    "text.parse_math": False,  # a method may have a dollar sign in its name
}


def series(labels: Iterable[str]) -> dict[str, int]:
    """A number per method for its colour and marker, by name; the base model has none."""
    return {name: number for number, name in enumerate(sorted(set(labels) - {NONE}))}


def style_of(number: int | None) -> dict[str, Any]:
    """Colour and marker of a method's number in `series`; of the base model ink and a dot."""
    if number is None:
        return {"color": _INK, "marker": "."}
    return {"color": PALETTE[number % len(PALETTE)], "marker": MARKERS[number % len(MARKERS)]}


def new_figure(width: float, height: float) -> Figure:
    """An empty figure of so many inches, drawn without a window system."""
    from matplotlib.backends.backend_agg import FigureCanvasAgg
    from matplotlib.figure import Figure

    figure = Figure(figsize=(width, height), layout="constrained")
    FigureCanvasAgg(figure)
    return figure


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

    Args:
        axes: to draw on.
        panel: whose methods.
        metric: a key of `RETENTION`.
        numbers: from `series`.
        look: sizes, as `Axes.errorbar` takes them.
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


def tradeoff_svg(panel: Panel, metric: str, numbers: Mapping[str, int]) -> str | None:
    """The trade-off plot of a panel as an `<svg>` element.

    Returns:
        None if fewer than two methods have both numbers: there is no trade-off to see.
    """
    count = len(tradeoff_points(panel, metric))
    if count < 2:
        return None

    rows = math.ceil(count / _LEGEND_COLUMNS)

    def draw(axes: Axes) -> None:
        draw_tradeoff(axes, panel, metric, numbers, markersize=7, elinewidth=1.2, alpha=0.95)
        axes.margins(0.12)
        axes.set_axisbelow(True)
        add_legend(axes, loc="outside lower center", ncols=_LEGEND_COLUMNS, fontsize=10)

    title = f"{RETENTION[metric]} against erasure rate, by method"
    return _svg(draw, title, f"{panel.title} {metric}", height=3.5 + 0.22 * rows)


def scale_svgs(
    store: Store, columns: Sequence[tuple[str, CellRecord]], numbers: Mapping[str, int], title: str
) -> list[str]:
    """The plots of a panel over the model's scales as `<svg>` elements, where there are numbers.

    Coarse scales decide what is drawn, fine ones how it looks; so it matters at which of them a
    method intervenes, and at which of them other prompts drift.

    Args:
        store: that holds edits and probes.
        columns: (label, cell) per method, one edit seed each.
        numbers: from `series`.
        title: of the panel; decides ids in the drawing.
    """
    kept = {label: kept_by_scale(store, cell) for label, cell in columns}
    drift = {label: drift_by_scale(store, cell) for label, cell in columns if cell.method != NONE}
    plots = [
        (kept, "Tokens that the filter keeps, %", "Kept tokens per scale"),
        (drift, "Drift, KL in nats per bit", "Drift per scale on prompts that must stay"),
    ]
    svgs = []
    for curves, axis, name in plots:
        measured = {label: curve for label, curve in curves.items() if curve}
        if measured:
            svgs.append(_scale_svg(measured, numbers, axis, name, f"{title} {name}"))
    return svgs


def _scale_svg(
    curves: Mapping[str, Sequence[float]],
    numbers: Mapping[str, int],
    axis: str,
    name: str,
    salt: str,
) -> str:
    def draw(axes: Axes) -> None:
        for label, curve in curves.items():
            style = style_of(numbers.get(label))
            axes.plot(range(1, len(curve) + 1), curve, **style, label=label, lw=1.4)
        axes.set_xlabel("Scale, coarse to fine")
        axes.set_ylabel(axis)
        axes.set_xticks(range(1, 1 + max(map(len, curves.values()))))
        axes.set_ylim(bottom=0)
        axes.legend(frameon=False, fontsize=9, ncols=1 + len(curves) // 6)

    return _svg(draw, name, salt)


def _svg(draw: Callable[[Axes], None], title: str, salt: str, height: float = 3.7) -> str:
    """A drawing in the page's look as an `<svg>` element.

    Args:
        draw: is given empty axes.
        title: of the element, for those who do not see it.
        salt: makes ids in the drawing its own.
        height: of the drawing, inches.
    """
    import matplotlib  # slow to import, and only pages need it
    from matplotlib.backends.backend_svg import FigureCanvasSVG
    from matplotlib.figure import Figure

    with matplotlib.rc_context({**_PAGE_STYLE, "svg.hashsalt": visible(salt)}):
        figure = Figure(figsize=(4.8, height), dpi=72, layout="constrained")  # SVG has 72
        FigureCanvasSVG(figure)  # or a window system might be asked for
        axes = figure.add_subplot()
        draw(axes)
        axes.grid(color=_INK, alpha=0.12, linewidth=0.6)
        axes.tick_params(length=0)
        buffer = io.StringIO()
        figure.savefig(buffer, format="svg", transparent=True, metadata={"Date": None})
    return _for_page(buffer.getvalue(), title)


def _for_page(svg: str, title: str) -> str:
    """The drawing without prolog, metadata and name spaces, in the page's colours and font."""
    svg = svg[svg.index("<svg") :]
    svg = re.sub(r"<(metadata|style)\b.*?</\1>", "", svg, flags=re.DOTALL)
    svg = re.sub(r' id="[\w.]+_\d+"', "", svg)  # groups; a page may hold several drawings
    svg = re.sub(r' xmlns(:\w+)?="[^"]*"', "", svg).replace("xlink:href=", "href=")
    svg = re.sub(r"font(-family)?: [^;\"]*'[^;\"]*'[^;\"]*", _without_family, svg)
    svg = svg.replace(_INK, "currentColor")
    for number, colour in enumerate(PALETTE):
        svg = svg.replace(colour, f"var(--series-{number}, {colour})")
    return svg.replace("<svg ", f'<svg role="img" aria-label="{title}" ', 1)


def _without_family(match: re.Match[str]) -> str:
    size = re.search(r"[\d.]+px", match[0])
    return f"font-size: {size[0]}" if size and not match[1] else "font-family: inherit"
