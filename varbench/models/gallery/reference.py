"""Real images of the Gallery's world for ``fid_real``: renders of what the prompts ask for."""

from __future__ import annotations

import hashlib
from collections.abc import Mapping

import numpy as np
from numpy.typing import NDArray

from varbench.models.gallery.world.render import render
from varbench.models.gallery.world.scene import Scene

VERSION = 1
FIELDS = ("identity", "mannequin", "object", "colour", "style", "background")


def reference_image(labels: Mapping[str, str], prompt_id: str, seed: int) -> NDArray[np.uint8]:
    """``[64, 64, 3]`` render of a prompt's labels; the layout follows (prompt id, seed)."""
    digest = hashlib.sha256(f"reference/{prompt_id}/{seed}".encode()).digest()
    scene = Scene(**{f: labels[f] for f in FIELDS if labels.get(f)})
    return render(scene, int.from_bytes(digest[:4], "little"))
