"""The Gallery: a tiny drawn world whose images, labels and captions are known exactly."""

from varbench.models.gallery.world.captions import CONCEPT_WORDS, TEMPLATES, caption, vocabulary
from varbench.models.gallery.world.render import render, render_batch
from varbench.models.gallery.world.scene import (
    ARTISTS,
    BACKGROUNDS,
    COLOURED_OBJECTS,
    COLOURS,
    FACES,
    MANNEQUIN_STATES,
    OBJECTS,
    STYLES,
    Scene,
    is_held_out,
    sample_scene,
)

__all__ = [
    "ARTISTS",
    "BACKGROUNDS",
    "COLOURED_OBJECTS",
    "COLOURS",
    "CONCEPT_WORDS",
    "FACES",
    "MANNEQUIN_STATES",
    "OBJECTS",
    "STYLES",
    "TEMPLATES",
    "Scene",
    "caption",
    "is_held_out",
    "render",
    "render_batch",
    "sample_scene",
    "vocabulary",
]
