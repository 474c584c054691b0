"""Coverage of the intervals of rates, and how seldom equal methods are told apart.

Each trial draws hits of a base model and of edits of it on the same prompts and images, of which a
given share is lost, and asks `varbench.metrics.stats.estimate` as a report does. Edits vary with a
given standard deviation at a rate of one half (in proportion to the rate's own elsewhere); images
of a prompt are lost together with an intraclass correlation. With several edits, the variance
between them is pooled over eleven other methods and concepts.

    python benchmarks/coverage.py            # the full grid as Markdown
"""

from __future__ import annotations

import argparse
import math
import sys
from collections.abc import Callable, Sequence
from dataclasses import dataclass, replace
from itertools import product
from typing import Any

import numpy as np
from numpy.typing import NDArray
from scipy.special import ndtr

from varbench.metrics.stats import Between, Interval, PairedSamples, equality, estimate
from varbench.metrics.stats.edits import EditVariance, edit_squares, pooled

BASE = 0.95
"""The base model's hit rate."""
OTHERS = 11
"""Other methods and concepts over which the variance between edits is pooled."""
LOST = (0.0, 0.003, 0.008, 0.02, 0.1, 0.2)
"""True changes of the rate."""


@dataclass(frozen=True)
class Setting:
    """One cell of the grid."""

    prompts: int
    images: int
    edits: int
    spread: float = 0.0
    lost: float = 0.0
    correlation: float = 0.1


@dataclass(frozen=True)
class Coverage:
    """Shares of trials whose interval holds the truth; `told_apart` of equal methods that are."""

    rate: float
    difference: float
    erased: float
    told_apart: float


def coverage(setting: Setting, trials: int) -> Coverage:
    """Shares over so many trials, each with random numbers of its own."""
    return shares(np.array([trial(setting, number) for number in range(trials)]))


def shares(held: NDArray[np.float64]) -> Coverage:
    """Shares of the trials [n, 4], as `trial` returns them."""
    seen = np.isfinite(held)
    with np.errstate(invalid="ignore"):
        return Coverage(*np.where(seen, held, 0).sum(axis=0) / seen.sum(axis=0))


def trial(setting: Setting, number: int) -> tuple[float, float, float, float]:
    """1 for each field of `Coverage` that is true of one trial, else 0; NaN without an interval."""
    rng = np.random.default_rng(number)
    base = rng.random((setting.prompts, setting.images)) < BASE
    ours, twin = (_edits(setting, setting.lost, base, rng) for _ in range(2))
    groups = [ours]
    if setting.edits > 1:
        lost = rng.uniform(0.0, 0.4, OTHERS)
        groups += [_edits(setting, float(share), base, rng) for share in lost]
    between = Between(_variance(groups), _variance([1.0 * hits - base for hits in groups]))
    ids = np.repeat(np.arange(setting.prompts), setting.images)
    edits, others = (
        [PairedSamples("mean", hits.ravel(), base.ravel(), ids) for hits in group]
        for group in (ours, twin)
    )
    rate = estimate(edits, between)
    share = estimate([replace(edit, statistic="erasure_rate") for edit in edits], between)
    p = equality(edits, others, between.value)
    assert rate is not None and p is not None
    return (
        _holds(rate.value, BASE - setting.lost),
        _holds(rate.difference, -setting.lost),
        math.nan if share is None else _holds(share.value, setting.lost / BASE),  # too few hits
        p <= 0.05,
    )


def _variance(groups: Sequence[NDArray[Any]]) -> EditVariance:
    """The variance of `between_edits`, of rows [E, prompts, images], without matching prompts."""
    return pooled(edit_squares(rows.mean(axis=2), float(rows.var())) for rows in groups)


def _edits(
    setting: Setting, lost: float, base: NDArray[np.bool_], rng: np.random.Generator
) -> NDArray[np.bool_]:
    """Hits [E, prompts, images] of edits that lose this share of all images on average."""
    chance, ratio = lost / BASE, (2 * setting.spread) ** 2
    chances = np.full(setting.edits, chance)
    if ratio and 0 < chance < 1:
        chances = rng.beta(chance * (1 / ratio - 1), (1 - chance) * (1 / ratio - 1), setting.edits)
    of_prompt = rng.standard_normal((1, setting.prompts, 1))
    of_image = rng.standard_normal((setting.edits, *base.shape))
    share = setting.correlation
    uniform = ndtr(np.sqrt(share) * of_prompt + np.sqrt(1 - share) * of_image)
    return base & np.asarray(uniform >= chances[:, None, None])


def _holds(interval: Interval, truth: float) -> bool:
    return interval.low - 1e-9 <= truth <= interval.high + 1e-9


def grid() -> list[Setting]:
    """The settings of the full grid."""
    sizes = product((25, 60, 120, 240), (1, 2, 4))
    edits = ((1, 0.0), *product((2, 3), (0.0, 0.05, 0.1)))
    return [
        Setting(prompts, images, count, spread, lost)
        for (prompts, images), (count, spread), lost in product(sizes, edits, LOST)
    ]


def table(settings: Sequence[Setting], measured: Sequence[Coverage]) -> str:
    """Markdown: for settings with one thing in common, the mean of each share and its worst."""
    parts: dict[str, Callable[[Setting], object]] = {
        "prompts": lambda s: s.prompts,
        "images per prompt": lambda s: s.images,
        "edits (spread)": lambda s: f"{s.edits} ({s.spread:g})",
        "true change": lambda s: f"{100 * s.lost:g} %",
        "all": lambda s: len(settings),
    }
    names = ("rate", "difference", "erased", "told_apart")
    header = ["settings", "", *(name.replace("_", " ") for name in names)]
    lines = [header, ["---"] * len(header)]
    for part, of in parts.items():
        for common in dict.fromkeys(map(of, settings)):
            chosen = [c for s, c in zip(settings, measured, strict=True) if of(s) == common]
            cells = []
            for name in names:
                numbers = np.array([getattr(c, name) for c in chosen])
                worst = np.nanmax if name == "told_apart" else np.nanmin
                cells.append(f"{np.nanmean(numbers):.3f} ({worst(numbers):.2f})")
            lines.append([part, str(common), *cells])
    return "\n".join(f"| {' | '.join(line)} |" for line in lines) + "\n"


def main() -> None:
    """Print the table of the full grid."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--trials", type=int, default=1000)
    trials: int = parser.parse_args().trials
    settings = grid()
    sys.stdout.write(table(settings, [coverage(setting, trials) for setting in settings]))


if __name__ == "__main__":
    main()
