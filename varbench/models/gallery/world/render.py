"""From a scene and a seed to an image.

The seed alone decides the layout (place, scale, tints, garment), whatever the scene is: the same
seed with another name or style gives the same layout, which makes clean pairs for comparisons.
"""

from __future__ import annotations

import hashlib
from collections.abc import Mapping
from dataclasses import fields

import numpy as np
from numpy.typing import NDArray

from varbench.models.gallery.world.backgrounds import draw_background
from varbench.models.gallery.world.canvas import OVERSAMPLE, SIZE, Pen
from varbench.models.gallery.world.draw_objects import draw_object
from varbench.models.gallery.world.draw_people import draw_face, draw_mannequin
from varbench.models.gallery.world.scene import COLOURED_OBJECTS, COLOURS, Scene
from varbench.models.gallery.world.styles import Drawing, Floats, apply_style, edges, spread

VERSION = 1
"""Of the images that :func:`reference_image` draws."""

_TINT = 0.10
# Place (x, y) of the design box's centre and its scale, alone and in a composition, which gives the
# person the left two thirds and the object the lower right corner, in front.
_PLACES = {
    "face": ((32.0, 33.5, 0.96), (22.5, 33.0, 0.84)),
    "mannequin": ((32.0, 32.0, 0.94), (20.5, 32.0, 0.88)),
    "object": ((32.0, 32.0, 0.94), (46.5, 44.5, 0.57)),
}


def _floats(pen: Pen) -> Floats:
    """A layer, reduced to [64, 64, channels] in [0, 1]."""
    small = pen.image.reduce(OVERSAMPLE)
    return np.asarray(small, dtype=np.float32) * np.float32(1 / 255)


def _layers(scene: Scene, u: NDArray[np.float64]) -> list[Pen]:
    """The subjects, back to front, each drawn on a layer of its own."""
    dx, dy, stretch, tint_u, pick, flip, colour_u = u[:7]
    composed = scene.is_composition
    loose = 0.5 if composed else 1.0  # two subjects leave less room to move
    # At most three pixels either way.
    shift_x, shift_y = (3.0 * loose * (2 * d - 1) for d in (dx, dy))
    scale = 1 + 0.08 * loose * (2 * stretch - 1)
    tint = 1 + _TINT * (2 * tint_u - 1)
    mirror = bool(flip < 0.5)

    def pen(kind: str) -> Pen:
        x, y, size = _PLACES[kind][composed]
        return Pen((x + shift_x, y + shift_y), size * scale, mirror)

    layers = []
    if scene.identity is not None:
        layers.append(pen("face"))
        draw_face(layers[-1], scene.identity, tint)
    elif scene.mannequin is not None:
        layers.append(pen("mannequin"))
        draw_mannequin(layers[-1], scene.mannequin, float(pick), tint)
    if scene.object is not None:
        palette = COLOURED_OBJECTS.get(scene.object, COLOURS)
        colour = scene.colour or palette[int(colour_u * len(palette))]
        layers.append(pen("object"))
        draw_object(layers[-1], scene.object, colour, tint)
    return layers


def render(scene: Scene, seed: int) -> NDArray[np.uint8]:
    """The image of a scene: uint8 RGB [64, 64, 3], the same for the same (scene, seed).

    Args:
        scene: what to draw.
        seed: >= 0; decides place, scale, tints, garment and unnamed colours.
    """
    rng = np.random.default_rng(seed)
    u = rng.random(10)
    ground = Pen(mode="RGB")
    draw_background(
        ground, scene.background, 1 + _TINT * (2 * float(u[8]) - 1), 8 * float(u[9]) - 4
    )
    image = _floats(ground)
    mask = np.zeros((SIZE, SIZE), dtype=np.float32)
    contour = np.zeros((SIZE, SIZE), dtype=np.float32)
    for layer in _layers(scene, u):
        rgba = _floats(layer)
        alpha = rgba[..., 3]
        # A dark line around the subject separates it from any background and from its neighbour.
        wide = spread(alpha)
        rim = (wide - alpha)[..., None]
        image = image * (1 - rim * (1 - np.float32(0.16)))
        image += (rgba[..., :3] - image) * alpha[..., None]
        np.maximum(mask, wide, out=mask)
        contour = np.maximum(contour * (1 - alpha), edges(wide))
    image = apply_style(scene.style, Drawing(image, mask, contour), rng)
    return (np.clip(image, 0, 1) * np.float32(255) + np.float32(0.5)).astype(np.uint8)


def reference_image(labels: Mapping[str, str], prompt_id: str, seed: int) -> NDArray[np.uint8]:
    """A real image ``[64, 64, 3]`` for ``fid_real``: a render of what a prompt asks for.

    The layout follows (prompt id, seed).
    """
    digest = hashlib.sha256(f"reference/{prompt_id}/{seed}".encode()).digest()
    scene = Scene(**{f.name: labels[f.name] for f in fields(Scene) if labels.get(f.name)})
    return render(scene, int.from_bytes(digest[:4], "little"))
