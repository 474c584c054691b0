"""Figures of an edit's training, for papers, as far as the edit kept records.

They answer what readers of S-VARE asked: which scales and tokens carry the concept, which tokens
the filter keeps as training goes on, and whether the erasing and the preserving loss pull against
each other.
"""

from __future__ import annotations

import math
from collections.abc import Iterator, Mapping, Sequence
from itertools import accumulate
from typing import TYPE_CHECKING

from varbench.report.cells import CellRecord
from varbench.report.plots import PALETTE, new_figure

if TYPE_CHECKING:
    from matplotlib.figure import Figure


def kept_by_scale(log: Sequence[Mapping[str, float]]) -> list[list[float]]:
    """Per scale, the share of tokens that the filter kept in each step; empty without a filter."""
    scales = sum(name.startswith("kept_") for name in (log[0] if log else ()))
    return [[line[f"kept_{scale}"] for line in log] for scale in range(scales)]


def training_figures(cells: Sequence[CellRecord]) -> Iterator[tuple[str, Figure]]:
    """File name (without ending) and figure of all that the cells' edits kept records for."""
    names: dict[str, str] = {}  # of an edit, by its key; cells of several suites share one
    for cell in cells:
        edit = cell.edit
        if edit is None or edit.key in names:
            continue
        name = f"{cell.method}-{cell.concept}-{cell.seed}-{cell.config}"
        if name in names.values():  # of another model, or another concept of this name
            name += f"-{edit.key[:8]}"
        names[edit.key] = name
        notes, log = edit.json("notes.json"), edit.json_lines("log.jsonl")
        if "concept_tokens" in notes:
            yield f"{name}-tokens", _concept_map(notes["schedule"], notes["concept_tokens"])
        if kept := kept_by_scale(log):
            yield f"{name}-kept", _kept_over_steps(kept, notes.get("schedule"))
        if any("conflict" in line for line in log):
            yield f"{name}-conflict", _conflict_over_steps(log)


def _concept_map(schedule: Sequence[Sequence[int]], shares: Sequence[float]) -> Figure:
    """Every token's share of pairs in which the filter keeps it, one panel per scale."""
    figure = new_figure(1.15 * len(schedule) + 0.7, 1.5)
    panels = figure.subplots(1, len(schedule), squeeze=False)[0]
    ends = list(accumulate(height * width for height, width in schedule))
    image = None
    for axes, (height, width), end in zip(panels, schedule, ends, strict=True):
        scale = shares[end - height * width : end]
        rows = [scale[row * width : (row + 1) * width] for row in range(height)]
        image = axes.imshow(rows, vmin=0, vmax=1, cmap="cividis", interpolation="nearest")
        axes.set_title(f"{height} x {width}", fontsize=8)
        axes.set_xlabel(f"{100 * sum(scale) / len(scale):.0f} %")
        axes.set_xticks([])
        axes.set_yticks([])
    if image is not None:
        figure.colorbar(image, ax=list(panels), label="pairs that keep it", shrink=0.9)
    return figure


def _kept_over_steps(
    kept: Sequence[Sequence[float]], schedule: Sequence[Sequence[int]] | None
) -> Figure:
    """Share of tokens that the filter keeps, per scale, over training."""
    figure = new_figure(3.4, 2.3)
    axes = figure.add_subplot()
    for scale, shares in enumerate(kept):
        curve = _smooth([100 * share for share in shares])
        label = f"scale {scale + 1}" if schedule is None else "x".join(map(str, schedule[scale]))
        dashes = "-" if scale < len(PALETTE) else "--"
        axes.plot(curve, dashes, color=PALETTE[scale % len(PALETTE)], label=label, linewidth=1.2)
    axes.set_xlabel("step")
    axes.set_ylabel("tokens kept, %")
    axes.set_ylim(bottom=0)
    axes.legend(frameon=False, fontsize=7, ncols=1 + len(kept) // 7)
    return figure


def _conflict_over_steps(log: Sequence[Mapping[str, float]]) -> Figure:
    """Cosine of the erasing and the preserving gradient; below 0 they pull against each other."""
    figure = new_figure(3.4, 2.0)
    axes = figure.add_subplot()
    lines = [line for line in log if "conflict" in line]
    steps, cosines = [line["step"] for line in lines], [line["conflict"] for line in lines]
    axes.axhline(0, color="0.5", linewidth=0.8)
    axes.plot(steps, cosines, color=PALETTE[0], linewidth=0.6, alpha=0.4)
    axes.plot(steps, _smooth(cosines), color=PALETTE[0], linewidth=1.4)
    axes.set_xlabel("step")
    axes.set_ylabel("cosine of gradients")
    axes.set_ylim(-1, 1)
    return figure


def _smooth(values: Sequence[float], steps: int = 10) -> list[float]:
    """Means over the last steps: one step sees only a few pairs."""
    sums = [0.0, *accumulate(values)]
    return [
        (sums[i + 1] - sums[max(0, i + 1 - steps)]) / min(i + 1, steps)
        for i in range(len(values))
        if not math.isnan(values[i])
    ]
