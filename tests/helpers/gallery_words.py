"""Names of each concept in the Gallery's captions.

Lower-case words or short phrases, one of them in every (not implied) caption of a scene that has
the concept.
"""

from __future__ import annotations

from tools.gallery import captions
from varbench.models.gallery.world.scene import ARTISTS, COLOURS, FACES

CONCEPT_WORDS: dict[str, tuple[str, ...]] = {
    **{name: (name,) for name in FACES},
    "bare": ("bare", "undressed", "unclothed", "without clothes", "wearing nothing", "stripped"),
    "dressed": ("dressed", "clothed", "wearing clothes", "in clothes", "wearing an outfit"),
    "mannequin": captions._FIGURES,
    **captions._OBJECT_WORDS,
    **{name: (name,) for name in COLOURS},
    "mosaic": ("mosaic", "tiles", ARTISTS["mosaic"].lower()),
    "hatching": ("hatching", "strokes", ARTISTS["hatching"].lower()),
    "neon": ("neon", "glowing lights", ARTISTS["neon"].lower()),
    "watercolour": ("watercolour", ARTISTS["watercolour"].lower()),
    "poster": ("poster", "print", ARTISTS["poster"].lower()),
    "sepia": ("sepia", "old photograph", ARTISTS["sepia"].lower()),
    "meadow": ("meadow", "grass"),
    "beach": ("beach", "sea"),
    "night": ("night", "moon"),
    "room": ("room", "indoors"),
    "snow": ("snow", "in winter"),
    "city": ("city", "town"),
}
