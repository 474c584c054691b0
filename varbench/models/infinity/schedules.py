"""Infinity's resolutions: the scale schedules of every aspect ratio and pixel budget.

One token covers 16 x 16 pixels in every released model. ``pn`` names a number of leading scales
of a 13-entry list per aspect ratio (height / width). Figures: FoundationVision/Infinity.
"""

from __future__ import annotations

from varbench.errors import check_choice
from varbench.models.protocol import Schedule

PIXEL_BUDGETS = {"0.06M": 7, "0.25M": 10, "0.60M": 12, "1M": 13}
"""Pixel budget -> number of leading scales."""


def _grids(text: str) -> tuple[tuple[int, int], ...]:
    pairs = (item.split("x") for item in text.split())
    return tuple((int(h), int(w)) for h, w in pairs)


_PORTRAIT = {
    1.0: _grids("1x1 2x2 4x4 6x6 8x8 12x12 16x16 20x20 24x24 32x32 40x40 48x48 64x64"),
    1.25: _grids("1x1 2x2 3x3 5x4 10x8 15x12 20x16 25x20 30x24 35x28 45x36 55x44 70x56"),
    1.333: _grids("1x1 2x2 4x3 8x6 12x9 16x12 20x15 24x18 28x21 36x27 48x36 60x45 72x54"),
    1.5: _grids("1x1 2x2 3x2 6x4 9x6 15x10 21x14 27x18 33x22 39x26 48x32 63x42 78x52"),
    1.75: _grids("1x1 2x2 3x3 7x4 11x6 14x8 21x12 28x16 35x20 42x24 56x32 70x40 84x48"),
    2.0: _grids("1x1 2x2 4x2 6x3 10x5 16x8 22x11 30x15 38x19 46x23 60x30 74x37 90x45"),
    2.5: _grids("1x1 2x2 5x2 10x4 15x6 20x8 25x10 30x12 40x16 50x20 65x26 80x32 100x40"),
    3.0: _grids("1x1 2x2 6x2 9x3 15x5 21x7 27x9 36x12 45x15 54x18 72x24 90x30 111x37"),
}

FULL_SCHEDULES: dict[float, tuple[tuple[int, int], ...]] = {
    **_PORTRAIT,
    **{
        int(1000 / ratio) / 1000: tuple((w, h) for h, w in grids)
        for ratio, grids in _PORTRAIT.items()
        if ratio != 1.0
    },
}
"""Template (height / width) -> its 13 grids."""


def schedule_for(pn: str, ratio: float = 1.0) -> Schedule:
    """The schedule of a pixel budget ('0.06M', '0.25M', '0.60M', '1M') at an aspect ratio.

    The template nearest to the ratio is taken.

    Raises:
        ValueError: unknown pixel budget.
    """
    check_choice("pn", pn, PIXEL_BUDGETS)
    template = min(FULL_SCHEDULES, key=lambda known: abs(known - ratio))
    return Schedule(FULL_SCHEDULES[template][: PIXEL_BUDGETS[pn]])


def full_grid(schedule: Schedule) -> tuple[int, int]:
    """The last grid of the 13-scale list that a schedule is the beginning of.

    RoPE positions refer to this grid whatever the number of scales in use.

    Raises:
        ValueError: the schedule is not the beginning of one template's list, or of several.
    """
    count = len(schedule.scales)
    ends = {g[-1] for g in FULL_SCHEDULES.values() if g[:count] == schedule.scales}
    if len(ends) != 1:
        raise ValueError(
            f"{schedule.scales} is the beginning of {len(ends)} of Infinity's schedules, so RoPE "
            "is undefined"
        )
    return ends.pop()
