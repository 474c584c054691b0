"""The twelve objects, each about 40 pixels large in the 64 x 64 design box.

Church, castle, house and lighthouse are related buildings that differ in outline: one steeple
with a cross, two towers with battlements, a gable with a chimney, a striped tower with a lamp.
"""

from __future__ import annotations

from collections.abc import Callable

from varbench.models.gallery.world.canvas import Colour, Pen, shade

_INK: Colour = (34, 30, 38)
_WHITE: Colour = (250, 248, 242)
_GOLD: Colour = (252, 204, 48)

PAINTS: dict[str, Colour] = {
    "red": (218, 38, 40),
    "blue": (36, 84, 214),
    "green": (28, 150, 60),
    "yellow": (250, 206, 30),
    "purple": (140, 48, 176),
}


def _church(pen: Pen, paint: Colour) -> None:
    wall: Colour = (246, 240, 224)
    roof: Colour = (70, 92, 150)
    pen.box(27, 31, 54, 56, wall)
    pen.poly([(24, 33), (32, 22), (50, 22), (57, 33)], roof)
    pen.box(11, 27, 27, 56, shade(wall, 0.88))
    pen.poly([(8, 28), (19, 10), (30, 28)], roof)
    pen.box(17.4, 1, 20.6, 14, _INK)
    pen.box(13, 4, 25, 7.2, _INK)
    pen.box(15.5, 46, 22.5, 56, (110, 66, 36))
    pen.oval(19, 35, 3.2, 3.6, _INK)
    for x in (33.0, 43.0):
        pen.box(x, 42, x + 5, 52, (50, 90, 170))
        pen.oval(x + 2.5, 42, 2.5, 3, (50, 90, 170))


def _castle(pen: Pen, paint: Colour) -> None:
    stone: Colour = (156, 152, 160)
    dark = shade(stone, 0.78)
    pen.box(18, 30, 46, 56, stone)
    for x in (21.0, 29.5, 38.0):
        pen.box(x, 25, x + 5, 31, stone)
    for left in (8.0, 42.0):
        pen.box(left, 18, left + 14, 56, dark)
        for step in (-1.5, 4.75, 11.0):
            pen.box(left + step, 11, left + step + 4.5, 19, dark)
        pen.box(left - 1.5, 16, left + 15.5, 21, dark)
        pen.box(left + 5, 28, left + 9, 36, _INK)
    pen.box(26, 42, 38, 56, _INK)
    pen.half(32, 42, 6, 6, _INK, up=True)


def _house(pen: Pen, paint: Colour) -> None:
    pen.box(42, 11, 49, 28, (120, 60, 50))
    pen.box(13, 30, 51, 56, (240, 176, 96))
    pen.poly([(6, 33), (32, 9), (58, 33)], (186, 44, 36))
    pen.box(35, 41, 44, 56, (100, 58, 34))
    pen.box(18, 38, 30, 49, _WHITE)
    pen.box(19.6, 39.6, 28.4, 47.4, (90, 170, 230))


def _lighthouse(pen: Pen, paint: Colour) -> None:
    red: Colour = (216, 40, 40)
    pen.poly([(25, 18), (39, 18), (44, 58), (20, 58)], _WHITE)
    for top in (24.0, 40.0):
        wide = (top - 18) / 8
        pen.poly([(25 - wide, top), (39 + wide, top), (40 + wide, top + 8), (24 - wide, top + 8)],
                 red)  # fmt: skip
    pen.box(20, 15.5, 44, 19.5, _INK)
    pen.box(26, 7, 38, 16, (255, 236, 90))
    pen.poly([(23, 8), (32, 0), (41, 8)], red)
    pen.poly([(26, 9), (26, 14), (8, 18), (8, 5)], (255, 240, 130))
    pen.poly([(38, 9), (38, 14), (56, 18), (56, 5)], (255, 240, 130))
    pen.box(14, 56, 50, 60, (110, 104, 100), radius=2)


def _tree(pen: Pen, paint: Colour) -> None:
    leaf: Colour = (34, 120, 48)
    pen.box(27.5, 36, 36.5, 59, (110, 70, 36))
    for x, y in ((19, 31), (45, 31), (32, 33)):
        pen.oval(x, y, 12.5, 11, leaf)
    pen.oval(32, 18, 16, 14.5, shade(leaf, 1.12))
    for x, y in ((24, 18), (40, 21), (32, 32), (17, 32), (47, 33)):
        pen.oval(x, y, 3.0, 3.0, (255, 138, 96))


def _flower(pen: Pen, paint: Colour) -> None:
    stem: Colour = (40, 140, 50)
    pen.box(30, 34, 34, 61, stem)
    pen.oval(41, 51, 8.5, 4.2, stem)
    pen.oval(23, 55, 8.5, 4.2, stem)
    for x, y in ((32, 9), (44, 17.5), (39.5, 31), (24.5, 31), (20, 17.5)):
        pen.oval(x, y, 8.8, 8.8, paint)
    pen.oval(32, 21, 7, 7, _WHITE if paint[0] > 200 and paint[1] > 150 else _GOLD)


def _car(pen: Pen, paint: Colour) -> None:
    pen.poly([(16, 34), (22, 20), (43, 20), (51, 34)], paint)
    pen.poly([(20.5, 33), (25, 23.5), (31.5, 23.5), (31.5, 33)], (196, 228, 246))
    pen.poly([(35, 33), (35, 23.5), (41, 23.5), (46.5, 33)], (196, 228, 246))
    pen.box(8, 32, 57, 46, paint, radius=4)
    pen.box(52, 35, 57, 39.5, _GOLD)
    for x in (19.0, 46.0):
        pen.oval(x, 46, 7, 7, _INK)
        pen.oval(x, 46, 3, 3, (200, 200, 206))


def _boat(pen: Pen, paint: Colour) -> None:
    pen.poly([(7, 43), (57, 43), (48, 57), (16, 57)], paint)
    pen.box(7, 41.5, 57, 45, shade(paint, 0.62))
    pen.box(30, 6, 33.4, 43, (96, 60, 34))
    pen.poly([(35, 8), (35, 39), (55, 39)], _WHITE)
    pen.poly([(28.5, 14), (28.5, 39), (12, 39)], shade(_WHITE, 0.86))


def _fish(pen: Pen, paint: Colour) -> None:
    pen.poly([(40, 33), (58, 19), (55, 33), (58, 47)], shade(paint, 0.78))
    pen.poly([(20, 22), (30, 10), (40, 22)], shade(paint, 0.78))
    pen.poly([(22, 44), (29, 53), (36, 44)], shade(paint, 0.78))
    pen.oval(27, 33, 20, 14, paint)
    pen.box(27, 21, 30.5, 45, shade(paint, 1.6))
    pen.box(35, 23.5, 38.5, 42.5, shade(paint, 1.6))
    pen.oval(16.5, 29.5, 4.4, 4.4, _WHITE)
    pen.oval(16, 29.5, 2.4, 2.4, _INK)


def _cup(pen: Pen, paint: Colour) -> None:
    pen.ring(45, 35, 11, 11, paint, 4.6)
    pen.poly([(11, 19), (46, 19), (42, 55), (15, 55)], paint)
    pen.oval(28.5, 19, 17.5, 5.4, shade(paint, 0.6))
    pen.oval(28.5, 19.8, 13.5, 3.4, (78, 44, 24))
    pen.poly([(12.6, 33), (44.4, 33), (43.5, 41), (13.5, 41)], _WHITE)


def _clock(pen: Pen, paint: Colour) -> None:
    case: Colour = (120, 66, 32)
    pen.oval(17, 11.5, 7, 6, _GOLD)
    pen.oval(47, 11.5, 7, 6, _GOLD)
    pen.line([(20, 50), (14, 59)], case, 5)
    pen.line([(44, 50), (50, 59)], case, 5)
    pen.oval(32, 33, 22, 22, case)
    pen.oval(32, 33, 17, 17, _WHITE)
    for x, y in ((32, 19.5), (45.5, 33), (32, 46.5), (18.5, 33)):
        pen.oval(x, y, 2.2, 2.2, _INK)
    pen.line([(32, 33), (32, 22)], _INK, 3.6)
    pen.line([(32, 33), (41, 38)], _INK, 3.6)
    pen.oval(32, 33, 3, 3, _INK)


def _umbrella(pen: Pen, paint: Colour) -> None:
    pen.box(30.2, 4, 33.8, 54, _INK)
    pen.half(27, 53, 6.8, 7, _INK, up=False)
    pen.poly([(6, 32), (9, 21), (17, 12), (32, 7), (47, 12), (55, 21), (58, 32)], paint)
    pen.poly([(22, 32), (26, 16), (32, 7), (38, 16), (42, 32)], shade(paint, 1.6))
    for x in (14.0, 32.0, 50.0):
        pen.half(x, 32, 8.5, 4, shade(paint, 0.6), up=False)


_DRAWERS: dict[str, Callable[[Pen, Colour], None]] = {
    "church": _church, "castle": _castle, "house": _house, "lighthouse": _lighthouse,
    "tree": _tree, "flower": _flower, "car": _car, "boat": _boat, "fish": _fish,
    "cup": _cup, "clock": _clock, "umbrella": _umbrella,
}  # fmt: skip


def draw_object(pen: Pen, name: str, colour: str, tint: float) -> None:
    """Draw one object.

    Args:
        pen: draws in the 64 x 64 design box.
        name: one of `scene.OBJECTS`.
        colour: one of `scene.COLOURS`; ignored by objects that have their own colours.
        tint: brightness factor of the colour, around 1.
    """
    paint = PAINTS[colour]
    _DRAWERS[name](pen, shade(paint, tint))
