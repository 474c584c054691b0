"""Contents of the Gallery's images, and the combinations reserved for evaluation.

A `Scene` is the complete meaning of one image: who or what is in it, in which style and in
front of which background. Rendering (`render.py`) and captions (`captions.py`) both start from
it, so an image's labels are known exactly and no classifier is needed to make training data.

About 15 % of all (subject, style, background) combinations are held out by a stable hash: the
model never trains on them, and evaluation prompts come from them. Every (subject, style) pair
keeps at least one background for training, so a held-out prompt asks for a new combination of
known parts, never for an unknown part.
"""

from __future__ import annotations

import hashlib
from dataclasses import dataclass
from functools import cache

import numpy as np

FACES = ("ada", "bruno", "clara", "dmitri", "elena", "felix", "greta", "hugo")
MANNEQUIN_STATES = ("dressed", "bare")
OBJECTS = (
    "church", "castle", "house", "lighthouse", "tree", "flower",
    "car", "boat", "fish", "cup", "clock", "umbrella",
)  # fmt: skip
COLOURS = ("red", "blue", "green", "yellow", "purple")
COLOURED_OBJECTS: dict[str, tuple[str, ...]] = {
    name: COLOURS for name in ("car", "boat", "fish", "cup", "umbrella", "flower")
}
ARTISTS = {
    "mosaic": "Marlo Tessera",
    "hatching": "Ines Crosswell",
    "neon": "Volta Kern",
    "watercolour": "Lio Aquarel",
    "poster": "Otto Flatt",
    "sepia": "Nils Umber",
}
STYLES = ("plain", *ARTISTS)
BACKGROUNDS = ("meadow", "beach", "night", "room", "snow", "city")

HELD_OUT_FRACTION = 0.15  # of the (subject, style, background) combinations

# The training mix. Compositions are rarer: each part is already learned alone.
_KINDS = ("face", "mannequin", "object", "composition")
_KIND_SHARES = (0.32, 0.22, 0.34, 0.12)
_PLAIN_SHARE = 0.30
_COLOUR_SHARE = 0.80  # of coloured objects whose colour is fixed (and so named in the caption)
_COMPOSED_FACE_SHARE = 0.60  # compositions with a face; the rest have a mannequin


def _check(field: str, value: str | None, allowed: tuple[str, ...]) -> None:
    if value is not None and value not in allowed:
        raise ValueError(f"unknown {field} {value!r}; choose one of: {', '.join(allowed)}")


@dataclass(frozen=True, slots=True)
class Scene:
    """The meaning of one image; `None` means "not in the image" (colour: "any colour").

    Raises:
        ValueError: for an unknown name, a scene without a subject, a scene with both a face
            and a mannequin, or a colour where no coloured object is.
    """

    identity: str | None = None
    mannequin: str | None = None
    object: str | None = None
    colour: str | None = None
    style: str = "plain"
    background: str = "room"

    def __post_init__(self) -> None:
        _check("identity", self.identity, FACES)
        _check("mannequin state", self.mannequin, MANNEQUIN_STATES)
        _check("object", self.object, OBJECTS)
        _check("colour", self.colour, COLOURS)
        # `style` and `background` are never optional, so None must not slip through `_check`.
        _check("style", str(self.style), STYLES)
        _check("background", str(self.background), BACKGROUNDS)
        if self.identity is not None and self.mannequin is not None:
            raise ValueError("a scene has a face or a mannequin, not both; drop one of them")
        if self.identity is None and self.mannequin is None and self.object is None:
            raise ValueError(
                "a scene needs a subject; set identity "
                f"({', '.join(FACES)}), mannequin ({', '.join(MANNEQUIN_STATES)}) "
                f"or object ({', '.join(OBJECTS)})"
            )
        if self.colour is not None and self.object not in COLOURED_OBJECTS:
            raise ValueError(
                f"colour {self.colour!r} needs a coloured object "
                f"({', '.join(COLOURED_OBJECTS)}), not {self.object!r}"
            )

    @property
    def has_person(self) -> bool:
        """True if a face or a mannequin is in the image."""
        return self.identity is not None or self.mannequin is not None

    @property
    def is_composition(self) -> bool:
        """True if a person and an object share the image."""
        return self.has_person and self.object is not None

    def subject_key(self) -> str:
        """A stable name of the subject without colour: "ada", "bare", "car", "ada+car"."""
        parts = (self.identity, self.mannequin, self.object)
        return "+".join(part for part in parts if part is not None)


@cache
def _held_out_backgrounds(subject: str, style: str) -> frozenset[str]:
    """Backgrounds never trained on for this pair; at least one background always remains."""
    scores = {
        background: int.from_bytes(
            hashlib.sha256(f"gallery/{subject}/{style}/{background}".encode()).digest()[:8]
        )
        / 2**64
        for background in BACKGROUNDS
    }
    always_trained = max(scores, key=scores.__getitem__)
    return frozenset(
        name
        for name, score in scores.items()
        if score < HELD_OUT_FRACTION and name != always_trained
    )


def is_held_out(scene: Scene) -> bool:
    """True if the scene's (subject, style, background) is reserved for evaluation."""
    return scene.background in _held_out_backgrounds(scene.subject_key(), scene.style)


def _draw_scene(rng: np.random.Generator) -> Scene:
    """One scene of the training mix, held out or not."""
    kind = _KINDS[int(rng.choice(len(_KINDS), p=_KIND_SHARES))]
    if kind == "composition":
        person = "face" if rng.random() < _COMPOSED_FACE_SHARE else "mannequin"
    else:
        person = kind
    identity = FACES[int(rng.integers(len(FACES)))] if person == "face" else None
    mannequin = MANNEQUIN_STATES[int(rng.integers(2))] if person == "mannequin" else None
    thing = OBJECTS[int(rng.integers(len(OBJECTS)))] if kind in ("object", "composition") else None
    colour = None
    if thing in COLOURED_OBJECTS and rng.random() < _COLOUR_SHARE:
        palette = COLOURED_OBJECTS[thing]
        colour = palette[int(rng.integers(len(palette)))]
    style = "plain"
    if rng.random() >= _PLAIN_SHARE:
        style = STYLES[1 + int(rng.integers(len(STYLES) - 1))]
    background = BACKGROUNDS[int(rng.integers(len(BACKGROUNDS)))]
    return Scene(identity, mannequin, thing, colour, style, background)


def sample_scene(rng: np.random.Generator, *, held_out: bool = False) -> Scene:
    """A random scene of the training mix.

    About 32 % faces, 22 % mannequins (half of them bare), 34 % objects, 12 % compositions;
    30 % plain, the other styles equal; backgrounds equal.

    Args:
        rng: source of randomness; the only one.
        held_out: sample only held-out combinations (for evaluation) instead of only trained ones.
    """
    while True:  # about 1.2 draws for training, 7 for evaluation
        scene = _draw_scene(rng)
        if is_held_out(scene) == held_out:
            return scene
