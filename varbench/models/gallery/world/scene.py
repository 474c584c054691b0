"""Contents of the Gallery's images.

A `Scene` is the complete meaning of one image: who or what is in it, in which style and in
front of which background. Rendering (`render.py`) and captions (`tools/gallery/captions.py`) both
start from it, so an image's labels are known exactly and no classifier is needed to make training
data.
"""

from __future__ import annotations

from dataclasses import dataclass

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
    def is_composition(self) -> bool:
        """True if a person and an object share the image."""
        return (self.identity or self.mannequin) is not None and self.object is not None

    def subject_key(self) -> str:
        """A stable name of the subject without colour: "ada", "bare", "car", "ada+car"."""
        parts = (self.identity, self.mannequin, self.object)
        return "+".join(part for part in parts if part is not None)
