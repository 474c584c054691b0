"""The six backgrounds: few, large, rather pale shapes, so that subjects stand out."""

from __future__ import annotations

from collections.abc import Callable

from varbench.models.gallery.world.canvas import Pen, shade


def _meadow(pen: Pen, tint: float, shift: float) -> None:
    pen.box(-40, -40, 104, 104, shade((150, 208, 244), tint))
    pen.oval(10 + shift, 58, 44, 18, shade((126, 196, 96), tint))
    pen.box(-40, 50, 104, 104, shade((104, 180, 76), tint))


def _beach(pen: Pen, tint: float, shift: float) -> None:
    pen.box(-40, -40, 104, 104, shade((190, 230, 250), tint))
    pen.box(-40, 27, 104, 46, shade((50, 150, 200), tint))
    pen.box(-40, 44, 104, 104, shade((246, 222, 140), tint))
    pen.oval(10 + shift, 11, 8, 8, (255, 220, 60))


def _night(pen: Pen, tint: float, shift: float) -> None:
    pen.box(-40, -40, 104, 104, shade((44, 52, 118), tint))
    pen.oval(52 + shift, 11, 8.5, 8.5, (252, 244, 190))
    for x, y in ((8, 9), (26, 5), (6, 30), (58, 34)):
        pen.oval(x + shift, y, 1.8, 1.8, (252, 244, 190))
    pen.box(-40, 54, 104, 104, shade((40, 66, 62), tint))


def _room(pen: Pen, tint: float, shift: float) -> None:
    pen.box(-40, -40, 104, 104, shade((150, 190, 178), tint))
    for x in (4, 20, 36, 52):
        pen.box(x + shift, -40, x + 8 + shift, 50, shade((178, 212, 200), tint))
    pen.box(-40, 50, 104, 104, shade((150, 100, 66), tint))
    pen.box(-40, 48, 104, 51.5, shade((250, 240, 230), tint))


def _snow(pen: Pen, tint: float, shift: float) -> None:
    pen.box(-40, -40, 104, 104, shade((164, 184, 206), tint))
    pen.oval(50 + shift, 62, 46, 22, (232, 240, 250))
    pen.box(-40, 50, 104, 104, (246, 250, 255))
    for x, y in ((7, 8), (24, 4), (45, 6), (59, 17), (5, 27), (60, 34), (9, 42)):
        pen.oval(x + shift, y, 2.4, 2.4, (255, 255, 255))


def _city(pen: Pen, tint: float, shift: float) -> None:
    pen.box(-40, -40, 104, 104, shade((236, 214, 150), tint))
    wall = shade((128, 136, 158), tint)
    for x, top in ((-8, 16), (6, 30), (20, 8), (36, 22), (48, 10), (62, 26)):
        pen.box(x + shift, top, x + 12 + shift, 60, wall)
        for y in range(top + 4, 52, 9):
            pen.box(x + 4 + shift, y, x + 8 + shift, y + 4, shade((246, 226, 150), tint))
    pen.box(-40, 54, 104, 104, shade((92, 92, 100), tint))


_DRAWERS: dict[str, Callable[[Pen, float, float], None]] = {
    "meadow": _meadow, "beach": _beach, "night": _night,
    "room": _room, "snow": _snow, "city": _city,
}  # fmt: skip


def draw_background(pen: Pen, name: str, tint: float, shift: float) -> None:
    """Fill the whole layer.

    Args:
        pen: an unscaled pen on an opaque layer.
        name: one of `scene.BACKGROUNDS`.
        tint: brightness factor, around 1.
        shift: horizontal shift of the scenery in pixels, a few at most.
    """
    _DRAWERS[name](pen, tint, shift)
