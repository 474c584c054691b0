"""The page's plots, as SVG with real text.

They are embedded in HTML: lines and text take its colours (`currentColor` and the CSS variables
`--series-N`), so one drawing serves light and dark.
"""

from __future__ import annotations

import io
import math
import re
from collections.abc import Callable, Mapping, Sequence
from functools import partial
from typing import TYPE_CHECKING, Any

import numpy as np

from varbench.methods.registry import NONE
from varbench.report.cells import CellRecord
from varbench.report.panels import Panel
from varbench.report.plots import (
    INK,
    PALETTE,
    RETENTION,
    add_legend,
    draw_tradeoff,
    new_figure,
    style_of,
    tradeoff_points,
)
from varbench.report.text import visible
from varbench.report.training_figures import kept_by_scale

if TYPE_CHECKING:
    from matplotlib.axes import Axes

_LEGEND_COLUMNS = 3
_PAGE_STYLE: dict[Any, Any] = {
    "figure.dpi": 72,  # as SVG has
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
    columns: Sequence[tuple[str, CellRecord]], numbers: Mapping[str, int], title: str
) -> list[str]:
    """The plots of a panel over the model's scales as `<svg>` elements, where there are numbers.

    Coarse scales decide what is drawn, fine ones how it looks; so it matters at which of them a
    method intervenes, and at which of them other prompts drift.

    Args:
        columns: (label, cell) per method, one edit seed each.
        numbers: from `series`.
        title: of the panel; decides ids in the drawing.
    """
    kept = {label: _kept_by_scale(cell) for label, cell in columns}
    drift = {label: _drift_by_scale(cell) for label, cell in columns if cell.method != NONE}
    plots = [
        (kept, "Tokens that the filter keeps, %", "Kept tokens per scale"),
        (drift, "Drift, KL in nats per bit", "Drift per scale on prompts that must stay"),
    ]

    def draw(curves: Mapping[str, Sequence[float]], axis: str, axes: Axes) -> None:
        for label, curve in curves.items():
            style = style_of(numbers.get(label))
            axes.plot(range(1, len(curve) + 1), curve, **style, label=label, lw=1.4)
        axes.set_xlabel("Scale, coarse to fine")
        axes.set_ylabel(axis)
        axes.set_xticks(range(1, 1 + max(map(len, curves.values()))))
        axes.set_ylim(bottom=0)
        axes.legend(frameon=False, fontsize=9, ncols=1 + len(curves) // 6)

    svgs = []
    for curves, axis, name in plots:
        if measured := {label: curve for label, curve in curves.items() if curve}:
            svgs.append(_svg(partial(draw, measured, axis), name, f"{title} {name}"))
    return svgs


def _kept_by_scale(cell: CellRecord) -> list[float]:
    """Share of tokens per scale that the filter kept in the last 20 steps of training, in per cent.

    Empty where the method has no filter or the edit is not in the store.
    """
    entry = cell.edit
    kept = [] if entry is None else kept_by_scale(entry.json_lines("log.jsonl"))
    return [100 * float(np.mean(shares[-20:])) for shares in kept]


def _drift_by_scale(cell: CellRecord) -> list[float]:
    """LD1 by scale, in nats per bit; empty where nothing was probed."""
    drifts = (record.details for record in cell.records() if record.metric == "ld1")
    return [float(mean) for mean in next(drifts, {}).get("scales", ())]


def _svg(draw: Callable[[Axes], None], title: str, salt: str, height: float = 3.7) -> str:
    """The drawing of `draw` on empty axes as an `<svg>` element; `salt` makes its ids its own."""
    import matplotlib

    with matplotlib.rc_context({**_PAGE_STYLE, "svg.hashsalt": visible(salt)}):
        figure = new_figure(4.8, height)
        axes = figure.add_subplot()
        draw(axes)
        axes.grid(color=INK, alpha=0.12, linewidth=0.6)
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
    svg = svg.replace(INK, "currentColor")
    for number, colour in enumerate(PALETTE):
        svg = svg.replace(colour, f"var(--series-{number}, {colour})")
    return svg.replace("<svg ", f'<svg role="img" aria-label="{title}" ', 1)


def _without_family(match: re.Match[str]) -> str:
    size = re.search(r"[\d.]+px", match[0])
    return f"font-size: {size[0]}" if size and not match[1] else "font-family: inherit"
