"""The eight named faces and the mannequin.

Each face has several large, redundant cues, and the cues that tell neighbours apart are shapes,
because sepia, hatching and neon take the colours away. The neighbours, on purpose:

    ada and clara    both red-haired: long straight hair and glasses / a round puff of curls
    bruno and dmitri both bearded:    bald, round black beard / tall hat, long pointed beard
    elena and greta  both with buns:  one bun on top, earrings / two buns at the sides, fringe
    felix and hugo   both in shades:  a cap with a brim / a mohawk and a moustache

The mannequin is a jointed wooden tailor's dummy without any features. Bare, it shows pale wood,
thick dark joints and its stand; dressed, a wide garment hides all of that.
"""

from __future__ import annotations

from dataclasses import dataclass

from varbench.models.gallery.world.canvas import Colour, Pen, shade

_INK: Colour = (28, 24, 30)
_WHITE: Colour = (250, 248, 242)
_LIPS: Colour = (196, 52, 60)
_GOLD: Colour = (250, 200, 40)


@dataclass(frozen=True, slots=True)
class _Face:
    skin: Colour
    hair: Colour
    shirt: Colour
    trim: str  # shirt decoration: "collar", "stripes", "straps", "vee" or "none"


_FACES: dict[str, _Face] = {
    "ada": _Face((246, 208, 178), (206, 62, 22), (34, 140, 74), "collar"),
    "bruno": _Face((232, 180, 142), (38, 30, 30), (240, 132, 24), "straps"),
    "clara": _Face((250, 216, 190), (214, 70, 26), (44, 92, 206), "stripes"),
    "dmitri": _Face((240, 196, 164), (110, 62, 28), (120, 48, 150), "none"),
    "elena": _Face((152, 98, 64), (26, 20, 24), (244, 206, 40), "none"),
    "felix": _Face((186, 128, 84), (60, 36, 24), (20, 172, 186), "stripes"),
    "greta": _Face((252, 218, 192), (240, 188, 46), (232, 92, 150), "collar"),
    "hugo": _Face((244, 206, 176), (40, 170, 60), (48, 48, 62), "vee"),
}


def _shirt(pen: Pen, face: _Face, colour: Colour) -> None:
    pen.half(32, 67, 25, 18, colour, up=True)
    pen.box(7, 67, 57, 90, colour)
    if face.trim == "stripes":
        pen.box(12, 57, 52, 60.5, _WHITE)
        pen.box(7, 64, 57, 67.5, _WHITE)
    elif face.trim == "straps":
        pen.box(17, 51, 22, 90, _INK)
        pen.box(42, 51, 47, 90, _INK)
    elif face.trim == "vee":
        pen.poly([(24, 49), (40, 49), (32, 66)], _WHITE)


def _collar(pen: Pen, face: _Face) -> None:
    if face.trim == "collar":
        pen.poly([(21, 49), (32, 51), (27, 60)], _WHITE)
        pen.poly([(43, 49), (32, 51), (37, 60)], _WHITE)


def _eyes(pen: Pen, y: float) -> None:
    for x in (26.0, 38.0):
        pen.oval(x, y, 3.6, 3.2, _WHITE)
        pen.oval(x, y, 2.2, 2.6, _INK)


def _shades(pen: Pen) -> None:
    pen.box(17, 25, 47, 28.5, _INK)
    pen.box(18, 25, 31, 35, _INK, radius=3)
    pen.box(33, 25, 46, 35, _INK, radius=3)
    pen.box(21, 27, 25, 30, (150, 190, 220))
    pen.box(36, 27, 40, 30, (150, 190, 220))


def draw_face(pen: Pen, name: str, tint: float) -> None:
    """A head-and-shoulders portrait.

    Args:
        pen: draws in the 64 x 64 design box.
        name: one of `scene.FACES`.
        tint: brightness factor of the shirt, around 1.
    """
    face = _FACES[name]
    skin, hair = face.skin, face.hair
    # What hangs behind the head comes first.
    if name == "ada":
        pen.box(13, 9, 51, 62, hair, radius=13)
    elif name == "clara":
        for x, y in ((32.0, 12.0), (17.0, 16.0), (47, 16), (12, 29), (52, 29), (17, 41), (47, 41)):
            pen.oval(x, y, 11, 11, hair)
    elif name == "elena":
        pen.oval(32, 7.5, 9, 8, hair)
        pen.oval(32, 27, 16.5, 15.5, hair)
    elif name == "greta":
        pen.oval(11.5, 23, 9, 9, hair)
        pen.oval(52.5, 23, 9, 9, hair)
        pen.oval(32, 26, 17, 16, hair)
    if name not in ("ada", "clara", "greta", "elena"):
        pen.oval(18, 32, 4, 5, shade(skin, 0.88))
        pen.oval(46, 32, 4, 5, shade(skin, 0.88))
    _shirt(pen, face, shade(face.shirt, tint))
    pen.box(26, 42, 38, 53, shade(skin, 0.84), radius=3)
    _collar(pen, face)
    pen.oval(32, 30.5, 14, 16, skin)

    if name == "ada":
        pen.half(32, 25, 16, 14, hair, up=True)
        pen.poly([(16, 24), (48, 24), (46, 20), (18, 20)], hair)
        for x in (25.0, 39.0):
            pen.oval(x, 31, 7.5, 7.5, _INK)
            pen.oval(x, 31, 4.8, 4.8, _WHITE)
            pen.oval(x, 31, 2.2, 2.4, _INK)
        pen.box(30, 29, 34, 32, _INK)
        pen.half(32, 40, 5, 4, _LIPS, up=False)
    elif name == "clara":
        for x, y in ((22.0, 17.0), (32, 14), (42, 17)):
            pen.oval(x, y, 7, 6, hair)
        _eyes(pen, 30)
        pen.oval(22, 36, 3, 2.4, (244, 150, 130))
        pen.oval(42, 36, 3, 2.4, (244, 150, 130))
        pen.half(32, 37.5, 7, 6, _LIPS, up=False)
    elif name == "bruno":
        pen.oval(26, 18, 4, 2.4, shade(skin, 1.5))
        pen.half(32, 33, 16.5, 19, hair, up=False)
        pen.box(15.5, 29, 20.5, 34, hair)
        pen.box(43.5, 29, 48.5, 34, hair)
        pen.oval(32, 41, 6.5, 3.8, _LIPS)
        pen.box(21, 22, 30, 25, hair)
        pen.box(34, 22, 43, 25, hair)
        _eyes(pen, 28.5)
    elif name == "dmitri":
        pen.poly([(16, 33), (25, 35), (39, 35), (48, 33), (44, 48), (32, 64), (20, 48)], hair)
        pen.oval(32, 40, 5.5, 3, _LIPS)
        pen.box(13, 1, 51, 15, (70, 74, 92), radius=4)
        pen.box(11, 13, 53, 22, (150, 156, 172), radius=3)
        _eyes(pen, 28.5)
    elif name == "elena":
        pen.half(32, 22.5, 15.5, 10.5, hair, up=True)
        pen.oval(16, 43, 4.6, 5.2, _GOLD)
        pen.oval(48, 43, 4.6, 5.2, _GOLD)
        _eyes(pen, 30)
        pen.half(32, 37.5, 7, 6, (222, 60, 70), up=False)
    elif name == "greta":
        pen.half(32, 27, 16.5, 17, hair, up=True)
        pen.box(17, 22, 47, 26, hair)
        _eyes(pen, 31)
        pen.oval(22, 37.5, 3.4, 2.8, (246, 130, 130))
        pen.oval(42, 37.5, 3.4, 2.8, (246, 130, 130))
        pen.half(32, 39, 5, 4.5, _LIPS, up=False)
    elif name == "felix":
        cap = (216, 40, 40)
        pen.half(32, 22, 17, 16, cap, up=True)
        pen.box(27, 8, 37, 17, _WHITE, radius=3)
        pen.box(7, 19, 49, 25, shade(cap, 0.72), radius=3)
        _shades(pen)
        pen.half(32, 38, 7, 5.5, _WHITE, up=False)
    elif name == "hugo":
        pen.poly([(26, 20), (22, 2), (28, 7), (32, 0), (36, 7), (42, 2), (38, 20)], hair)
        _shades(pen)
        pen.poly([(32, 37), (44, 38), (47, 46), (38, 42), (32, 42), (26, 42), (17, 46), (20, 38)],
                 hair)  # fmt: skip
        pen.half(32, 42.5, 4, 3, _LIPS, up=False)


_WOOD: Colour = (238, 206, 158)
_JOINT: Colour = (104, 62, 30)
_POLE: Colour = (60, 56, 64)
_CLOTHES: tuple[Colour, ...] = (
    (200, 40, 48), (40, 84, 190), (32, 130, 80), (130, 50, 150), (236, 130, 30), (30, 140, 160),
)  # fmt: skip
GARMENTS = ("coat", "dress", "jumper")


def _stand_and_head(pen: Pen) -> None:
    pen.box(30, 38, 34, 60, _POLE)
    pen.half(32, 63, 13, 5, _POLE, up=True)
    pen.box(29.5, 12, 34.5, 20, _JOINT)
    pen.oval(32, 8.5, 6.6, 7.6, _WOOD)


def _draw_bare(pen: Pen) -> None:
    _stand_and_head(pen)
    for side in (-1, 1):
        x = 32 + side * 14
        pen.line([(x, 21), (x + side * 3, 31)], _WOOD, 5)
        pen.line([(x + side * 3, 34), (x + side * 3, 45)], _WOOD, 4.6)
        pen.oval(x, 20.5, 3.6, 3.6, _JOINT)
        pen.oval(x + side * 3, 33, 3.0, 3.0, _JOINT)
        pen.oval(x + side * 3, 47, 2.8, 3.2, _WOOD)
    pen.poly([(20, 17), (44, 17), (40, 33), (24, 33)], _WOOD)
    pen.poly([(25, 35), (39, 35), (42, 46), (22, 46)], _WOOD)
    pen.box(25, 32, 39, 35.6, _JOINT)
    pen.box(22, 46, 42, 48.6, _JOINT)


def _draw_dressed(pen: Pen, garment: str, cloth: Colour, second: Colour) -> None:
    _stand_and_head(pen)
    pale = shade(cloth, 1.72)
    for side in (-1, 1):
        x = 32 + side * 13
        pen.line([(x - side, 20), (x + side * 4, 44)], shade(cloth, 0.74), 8.5)
        pen.oval(x + side * 4.4, 47.5, 3, 3.2, _WOOD)
    if garment == "coat":
        pen.poly([(18, 16), (46, 16), (49, 57), (15, 57)], cloth)
        pen.poly([(24, 16), (40, 16), (32, 29)], pale)
        pen.box(30.6, 28, 33.4, 57, shade(cloth, 0.45))
        for y in (33, 41, 49):
            pen.oval(38, y, 2.5, 2.5, _GOLD)
            pen.oval(26, y, 2.5, 2.5, _GOLD)
    elif garment == "dress":
        pen.poly([(19, 16), (45, 16), (40, 32), (54, 58), (10, 58), (24, 32)], cloth)
        pen.box(23.5, 30, 40.5, 35, pale)
        pen.poly([(14.5, 49), (49.5, 49), (52, 53.5), (12, 53.5)], pale)
    else:
        pen.poly([(23, 42), (41, 42), (47, 58), (17, 58)], second)
        pen.poly([(18, 16), (46, 16), (45, 45), (19, 45)], cloth)
        for y in (21, 29, 37):
            pen.box(18.6, y, 45.4, y + 4, pale)


def draw_mannequin(pen: Pen, state: str, pick: float, tint: float) -> None:
    """A wooden tailor's dummy on a stand, "bare" or "dressed".

    Args:
        pen: draws in the 64 x 64 design box.
        state: one of `scene.MANNEQUIN_STATES`.
        pick: in [0, 1); chooses the garment and its colours.
        tint: brightness factor of the clothes, around 1.
    """
    if state == "bare":
        _draw_bare(pen)
        return
    choice = int(pick * len(GARMENTS) * len(_CLOTHES))
    garment, colour = choice % len(GARMENTS), choice // len(GARMENTS)
    cloth = shade(_CLOTHES[colour], tint)
    second = _CLOTHES[(colour + 3) % len(_CLOTHES)]
    _draw_dressed(pen, GARMENTS[garment], cloth, second)
