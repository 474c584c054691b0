"""The trade-off plot: how much of a concept is gone against how much of the rest is still there.

Drawn by matplotlib as SVG with real text, for embedding in HTML: lines and text take the page's
colours (`currentColor` and the CSS variables `--series-N`), so one drawing serves light and dark.
"""

from __future__ import annotations

import io
import re
from collections.abc import Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

from varbench.report.panels import Panel, Value
from varbench.report.records import BASE
from varbench.report.text import visible

if TYPE_CHECKING:
    from matplotlib.axes import Axes

# Okabe and Ito's palette (distinct under every common colour blindness), black left out; each
# hue also has its own marker. The page has lighter tones of them for a dark ground.
PALETTE = ("#0072b2", "#d55e00", "#009e73", "#cc79a7", "#e69f00", "#56b4e9")
MARKERS = "oDs^vPX*"
RETENTION = {"acc_n": "Neighbours kept", "acc_u": "Unrelated kept"}
INK = "#010203"  # stands for currentColor until the SVG is done; no palette has it
PAGE_STYLE: dict[Any, Any] = {
    "svg.fonttype": "none",  # text stays text: sharp, selectable, in the page's own font
    "font.size": 11,
    "text.color": INK,
    "axes.edgecolor": INK,
    "axes.labelcolor": INK,
    "xtick.color": INK,
    "ytick.color": INK,
    "axes.spines.top": False,
    "axes.spines.right": False,
    "axes.linewidth": 0.8,
    "text.parse_math": False,  # a method may have a dollar sign in its name
}


@dataclass(frozen=True)
class Point:
    """One method in the plot, in per cent."""

    label: str
    colour: str
    marker: str
    x: Value
    y: Value


def series(labels: Sequence[str]) -> dict[str, int]:
    """A number per method for its colour and marker; the unerased model has none."""
    names = dict.fromkeys(label for label in labels if label != BASE)
    return {name: number for number, name in enumerate(names)}


def tradeoff(panel: Panel, metric: str, numbers: dict[str, int]) -> str | None:
    """The plot of a panel as an `<svg>` element: erasure rate against `metric`, a key of RETENTION.

    Returns:
        None if fewer than two methods have both numbers: there is no trade-off to see.
    """
    points = []
    base = None
    for row in panel.rows:
        x, y = row.values.get("erasure_rate"), row.values.get(metric)
        if row.method == BASE:
            base = None if y is None else y.value
        elif x is not None and y is not None and x.value is not None and y.value is not None:
            number = numbers[row.label]
            colour, marker = PALETTE[number % len(PALETTE)], MARKERS[number % len(MARKERS)]
            points.append(Point(visible(row.label), colour, marker, x, y))
    if len(points) < 2:
        return None
    return _draw(points, base, RETENTION[metric], salt=visible(f"{panel.title} {metric}"))


def _draw(points: list[Point], base: float | None, title: str, salt: str) -> str:
    import matplotlib  # slow to import, and only pages need it
    from matplotlib.backends.backend_svg import FigureCanvasSVG
    from matplotlib.figure import Figure

    with matplotlib.rc_context({**PAGE_STYLE, "svg.hashsalt": salt}):
        figure = Figure(figsize=(4.8, 3.7), dpi=72, layout="constrained")  # SVG has 72
        FigureCanvasSVG(figure)  # or a window system might be asked for
        axes = figure.add_subplot()
        for point in points:
            _mark(axes, point)
        if base is not None:
            # The unerased model erases nothing by definition: a level to keep, not a point, which
            # would squeeze the methods into a corner of the plot.
            axes.axhline(100 * base, color=INK, alpha=0.55, linewidth=0.9, dashes=(4, 3))
        axes.set_xlabel("Erasure rate, % →")
        axes.set_ylabel(f"{title}, % →")
        axes.margins(0.12)
        axes.grid(color=INK, alpha=0.12, linewidth=0.6)
        axes.set_axisbelow(True)
        axes.tick_params(length=0)
        figure.draw_without_rendering()  # label places need the final layout
        _label(axes, points, base)
        buffer = io.StringIO()
        figure.savefig(buffer, format="svg", transparent=True, metadata={"Date": None})
    return for_page(buffer.getvalue(), f"{title} against erasure rate, by method")


def _mark(axes: Axes, point: Point) -> None:
    x, y = 100 * (point.x.value or 0.0), 100 * (point.y.value or 0.0)
    axes.errorbar(
        x,
        y,
        xerr=_arms(point.x),
        yerr=_arms(point.y),
        fmt=point.marker,
        color=point.colour,
        markersize=7,
        elinewidth=1.2,
        capsize=0,
        alpha=0.95,
    )


def _arms(value: Value) -> list[list[float]] | None:
    if value.value is None or value.low is None or value.high is None:
        return None
    return [[100 * (value.value - value.low)], [100 * (value.high - value.value)]]


def _label(axes: Axes, points: list[Point], base: float | None) -> None:
    """Puts each name beside its point, where it hides no other point, bar or name."""
    from matplotlib.transforms import Bbox

    window = axes.get_window_extent()
    places = axes.transData.transform(
        [(100 * (p.x.value or 0.0), 100 * (p.y.value or 0.0)) for p in points]
    )
    taken = [Bbox.from_extents(x - 6, y - 6, x + 6, y + 6) for x, y in places]
    for point in points:
        for horizontal in (True, False):
            taken.append(_bar(axes, point, horizontal))
    if base is not None:
        level = axes.transData.transform((0, 100 * base))[1]
        taken.append(Bbox.from_extents(window.x0, level - 1, window.x1, level + 1))
    sides = [(7, 5, "left"), (-7, 5, "right"), (7, -14, "left"), (-7, -14, "right")]
    sides += [(7, 18, "left"), (-7, 18, "right"), (7, -27, "left"), (-7, -27, "right")]
    for point, (x, y) in zip(points, places, strict=True):
        best: tuple[float, Any, Any] | None = None
        for dx, dy, align in sides:
            text = axes.annotate(
                point.label, (x, y), (dx, dy), xycoords="figure pixels",
                textcoords="offset points", ha=align, va="baseline", fontsize=10.5,
                color=point.colour, annotation_clip=False,
            )  # fmt: skip
            box = text.get_window_extent()
            inside = window.x0 <= box.x0 and box.x1 <= window.x1 + 4 and window.y0 <= box.y0
            cost = sum(box.overlaps(other) for other in taken) + (0 if inside else 10)
            if best is None or cost < best[0]:
                if best is not None:
                    best[1].remove()
                best = (cost, text, box)
            else:
                text.remove()
        if best is not None:
            taken.append(best[2])


def _bar(axes: Axes, point: Point, horizontal: bool) -> Any:
    from matplotlib.transforms import Bbox

    value = point.x if horizontal else point.y
    centre = value.value or 0.0
    ends = (value.low if value.low is not None else centre,
            value.high if value.high is not None else centre)  # fmt: skip
    fixed = 100 * ((point.y if horizontal else point.x).value or 0.0)
    corners = [(100 * end, fixed) if horizontal else (fixed, 100 * end) for end in ends]
    (x0, y0), (x1, y1) = axes.transData.transform(corners)
    return Bbox.from_extents(x0 - 1, y0 - 1, x1 + 1, y1 + 1)


def for_page(svg: str, title: str) -> str:
    """Strips what a page does not need (prolog, metadata, name spaces) and lets it set colours."""
    svg = svg[svg.index("<svg") :]
    svg = re.sub(r"<(metadata|style)\b.*?</\1>", "", svg, flags=re.DOTALL)
    svg = re.sub(r' id="[\w.]+_\d+"', "", svg)  # groups; a page may hold several drawings
    svg = re.sub(r' xmlns(:\w+)?="[^"]*"', "", svg).replace("xlink:href=", "href=")
    svg = re.sub(r"font(-family)?: [^;\"]*'[^;\"]*'[^;\"]*", _without_family, svg)
    svg = svg.replace(INK, "currentColor")
    for number, colour in enumerate(PALETTE):
        svg = svg.replace(colour, f"var(--series-{number}, {colour})")
    return svg.replace("<svg ", f'<svg role="img" aria-label="{title}" ', 1)


def _without_family(match: re.Match[str]) -> str:
    size = re.search(r"[\d.]+px", match[0])
    return f"font-size: {size[0]}" if size and not match[1] else "font-family: inherit"
