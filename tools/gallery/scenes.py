"""Scenes that the Gallery is trained on, and the combinations reserved for evaluation.

About 15 % of all (subject, style, background) combinations are held out by a stable hash: the
model never trains on them, and evaluation prompts come from them. Every (subject, style) pair
keeps at least one background for training, so a held-out prompt asks for a new combination of
known parts, never for an unknown part.
"""

from __future__ import annotations

import hashlib
from functools import cache

import numpy as np

from varbench.models.gallery.world.scene import (
    BACKGROUNDS,
    COLOURED_OBJECTS,
    FACES,
    MANNEQUIN_STATES,
    OBJECTS,
    STYLES,
    Scene,
)

HELD_OUT_FRACTION = 0.15  # of the (subject, style, background) combinations

# The training mix. Compositions are rarer: each part is already learned alone.
_KINDS = ("face", "mannequin", "object", "composition")
_KIND_SHARES = (0.32, 0.22, 0.34, 0.12)
_PLAIN_SHARE = 0.30
_COLOUR_SHARE = 0.80  # of coloured objects whose colour is fixed (and so named in the caption)
_COMPOSED_FACE_SHARE = 0.60  # compositions with a face; the rest have a mannequin


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
