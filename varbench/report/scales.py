"""Plots of the page that look into the scales: which tokens were trained, where predictions moved.

Coarse scales decide what is drawn, fine ones how it looks; so it matters at which of them a method
intervenes, and at which of them other prompts drift.
"""

from __future__ import annotations

import io
import json
from collections.abc import Mapping, Sequence

import numpy as np

from varbench.report.figures import INK, MARKERS, PAGE_STYLE, PALETTE, for_page
from varbench.report.records import BASE, Cell
from varbench.report.text import visible
from varbench.store import Store

STEPS = 20
"""Training steps at either end that a curve of kept tokens is the mean of."""


def scale_plots(
    store: Store, columns: Sequence[tuple[str, Cell]], numbers: Mapping[str, int], title: str
) -> list[str]:
    """The plots of one panel as `<svg>` elements, those that there are numbers for.

    Args:
        store: that holds edits and probes.
        columns: (label, cell) per method, one edit seed each.
        numbers: of each label's colour and marker.
        title: of the panel; decides ids in the drawing.
    """
    kept = {label: curve for label, cell in columns for curve in [kept_by_scale(store, cell)]}
    drift = {label: drift_by_scale(store, cell) for label, cell in columns if cell.method != BASE}
    shown = [
        (kept, "Tokens that the filter keeps, %", "Kept tokens per scale"),
        (drift, "Drift, KL in nats per bit", "Drift per scale on prompts that must stay"),
    ]
    return [
        _draw({k: v for k, v in lines.items() if v}, numbers, axis, name, f"{title} {name}")
        for lines, axis, name in shown
        if any(lines.values())
    ]


def kept_by_scale(store: Store, cell: Cell) -> list[float]:
    """Share of tokens per scale, in per cent, that the filter kept in the last steps of training.

    Empty where the method has no filter or the edit is not in the store.
    """
    key = cell.body.get("edit")
    entry = store.find("edit", key, verify=False) if key else None
    if entry is None:
        return []
    lines = [json.loads(line) for line in entry.path("log.jsonl").read_text().splitlines()]
    last = [line for line in lines[-STEPS:] if "kept_0" in line]
    if not last:
        return []
    scales = sum(1 for name in last[0] if name.startswith("kept_"))
    return [100 * float(np.mean([line[f"kept_{k}"] for line in last])) for k in range(scales)]


def drift_by_scale(store: Store, cell: Cell) -> list[float]:
    """Mean KL from the unerased model's prediction to the method's, per scale, in nats per bit.

    Over the probed prompts, which must all stay (LD1 by scale); empty where nothing was probed.
    """
    found = []
    for name in cell.body.get("inputs") or ():
        stage, _, key = name.partition("/")
        entry = store.find(stage, key, verify=False) if stage == "probe" else None
        if entry is not None:
            with np.load(entry.path("probe.npz"), allow_pickle=False) as arrays:
                found.append(arrays["kl"])
    if not found:
        return []
    return [float(mean) for mean in np.concatenate(found).mean(axis=0)]


def _draw(
    lines: Mapping[str, Sequence[float]],
    numbers: Mapping[str, int],
    axis: str,
    name: str,
    salt: str,
) -> str:
    import matplotlib  # slow to import, and only pages need it
    from matplotlib.backends.backend_svg import FigureCanvasSVG
    from matplotlib.figure import Figure

    with matplotlib.rc_context({**PAGE_STYLE, "svg.hashsalt": visible(salt)}):
        figure = Figure(figsize=(4.8, 3.7), dpi=72, layout="constrained")
        FigureCanvasSVG(figure)
        axes = figure.add_subplot()
        for label, values in lines.items():
            number = numbers.get(label)
            colour = INK if number is None else PALETTE[number % len(PALETTE)]
            marker = "." if number is None else MARKERS[number % len(MARKERS)]
            places = range(1, len(values) + 1)
            axes.plot(places, values, marker=marker, color=colour, label=visible(label), lw=1.4)
        axes.set_xlabel("Scale, coarse to fine")
        axes.set_ylabel(axis)
        axes.set_xticks(range(1, 1 + max(map(len, lines.values()))))
        axes.set_ylim(bottom=0)
        axes.grid(color=INK, alpha=0.12, linewidth=0.6)
        axes.tick_params(length=0)
        axes.legend(frameon=False, fontsize=9, ncols=1 + len(lines) // 6)
        buffer = io.StringIO()
        figure.savefig(buffer, format="svg", transparent=True, metadata={"Date": None})
    return for_page(buffer.getvalue(), name)
