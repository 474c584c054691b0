"""Training data of the Gallery: renders kept in memory, captions drawn afresh each time."""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass

import numpy as np
import torch
from torch import Tensor

from tools.gallery.captions import caption
from tools.gallery.scenes import sample_scene
from varbench.models.gallery.world.render import render
from varbench.models.gallery.world.scene import Scene


@dataclass(frozen=True)
class Renders:
    """N training images and what they show.

    Attributes:
        images: ``[N, 3, 64, 64]`` uint8, RGB.
        scenes: their meanings, none of them held out.
    """

    images: Tensor
    scenes: list[Scene]

    def __len__(self) -> int:
        return len(self.scenes)

    def batch(self, rows: Tensor) -> Tensor:
        """Images ``[B, 3, 64, 64]`` float in [-1, 1]."""
        return self.images[rows].float() / 127.5 - 1


def make_renders(count: int, seed: int, *, held_out: bool = False) -> Renders:
    """Draw scenes and render them; the same arguments give the same images."""
    rng = np.random.default_rng(seed)
    scenes = [sample_scene(rng, held_out=held_out) for _ in range(count)]
    seeds = rng.integers(2**31, size=count)
    images = np.empty((count, 3, 64, 64), dtype=np.uint8)
    for image, scene, layout in zip(images, scenes, seeds, strict=True):
        image[:] = render(scene, int(layout)).transpose(2, 0, 1)
    return Renders(torch.from_numpy(images), scenes)


def draw_captions(
    scenes: Iterable[Scene], rng: np.random.Generator, implied_share: float
) -> list[str]:
    """One fresh caption per scene; some only imply a mannequin's state."""
    return [
        caption(s, rng, implied=s.mannequin is not None and rng.random() < implied_share)
        for s in scenes
    ]
