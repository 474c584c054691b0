"""Training data of the Gallery's judges: labels, reconstructions, augmentations.

Half of every batch are the tokenizer's reconstructions, some of them from codes with flipped
bits, because judges will score generated images and not renders.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import torch
import torch.nn.functional as F
from torch import Tensor

from tools.gallery.data import Renders
from tools.gallery.quantise import draw_flips, quantise
from varbench.models.gallery import sizes
from varbench.models.gallery.world.scene import (
    BACKGROUNDS,
    COLOURED_OBJECTS,
    COLOURS,
    FACES,
    MANNEQUIN_STATES,
    OBJECTS,
    STYLES,
    Scene,
)
from varbench.models.infinity.quantiser import Layout
from varbench.models.infinity.tokenizer import BSQVAE
from varbench.scoring.gallery_networks import GalleryFeatures, GalleryJudge

NONE = "none"
LABELS: dict[str, tuple[str, ...]] = {
    "identity": (*FACES, NONE),
    "mannequin": (*MANNEQUIN_STATES, NONE),
    "object": (*OBJECTS, NONE),
    "style": STYLES,
    "background": BACKGROUNDS,
    "colour": (*COLOURS, NONE),
}
UNKNOWN = -100
"""Target of what is in the image but not fixed by its scene; cross entropy skips it."""
FLIPS = 0.05
"""Largest share of code bits flipped before a reconstruction."""

_BLUR = torch.tensor([1.0, 2.0, 1.0]).outer(torch.tensor([1.0, 2.0, 1.0])) / 16


def targets_of(scenes: Sequence[Scene]) -> dict[str, Tensor]:
    """Per head the index of each scene's label, int64 ``[N]``; an unnamed colour is `UNKNOWN`."""

    def index(head: str, scene: Scene) -> int:
        value = getattr(scene, head)
        if head == "colour" and value is None and scene.object in COLOURED_OBJECTS:
            return UNKNOWN
        return LABELS[head].index(NONE if value is None else value)

    return {head: torch.tensor([index(head, scene) for scene in scenes]) for head in LABELS}


@torch.no_grad()
def reconstruct(
    vae: BSQVAE, renders: Renders, count: int, seed: int, flips: float = FLIPS, batch: int = 50
) -> Tensor:
    """Reconstructions of the first ``count`` renders, uint8 ``[count, 3, 64, 64]``.

    Args:
        vae: the tokenizer; its own weights are only read.
        renders: the originals.
        count: how many; at most all of them.
        seed: of the flipped bits.
        flips: largest share of bits flipped; the share is drawn anew for each batch.
        batch: images at a time.
    """
    layout = Layout(sizes.SCHEDULE)
    generator = torch.Generator().manual_seed(seed)
    made = torch.empty((count, *renders.images.shape[1:]), dtype=torch.uint8)
    for rows in torch.split(torch.arange(count), batch):
        latent = vae.encode(renders.batch(rows))
        flipped = draw_flips(len(rows), latent.shape[1], layout, flips, generator)
        images = vae.decode(quantise(latent, layout, flipped).codes)
        made[rows] = ((images + 1) * 127.5).round().to(torch.uint8)
    return made


def augment(images: Tensor, generator: torch.Generator) -> Tensor:
    """Images ``[B, 3, H, W]`` in [0, 1], a little moved, scaled, blurred, lit and noised.

    Shift up to 2 pixels and scale up to 6 % for one half, blur for another, brightness up to
    10 % and noise up to 0.04 for all.
    """
    count, _, height, width = images.shape

    def uniform(low: float, high: float) -> Tensor:
        return low + (high - low) * torch.rand(count, 1, 1, 1, generator=generator)

    def half() -> Tensor:
        return (torch.rand(count, 1, 1, 1, generator=generator) < 0.5).float()

    moved = half()
    theta = torch.zeros(count, 2, 3)
    theta[:, 0, 0] = theta[:, 1, 1] = (1 + moved * uniform(-0.06, 0.06)).flatten()
    theta[:, 0, 2] = (moved * uniform(-4 / width, 4 / width)).flatten()  # -1..1 is the whole width
    theta[:, 1, 2] = (moved * uniform(-4 / height, 4 / height)).flatten()
    grid = F.affine_grid(theta, list(images.shape), align_corners=False)
    x = F.grid_sample(images, grid, padding_mode="reflection", align_corners=False)
    padded = F.pad(x, (1, 1, 1, 1), mode="replicate")
    blurred = F.conv2d(padded, _BLUR.expand(3, 1, 3, 3), groups=3)
    x = x.lerp(blurred, half() * uniform(0, 1))
    x = x * uniform(0.9, 1.1) + uniform(-0.04, 0.04)
    x = x + uniform(0, 0.04) * torch.randn(x.shape, generator=generator)
    return x.clamp(0, 1)


@dataclass(frozen=True)
class JudgeData:
    """Renders, reconstructions of the first of them, and the labels of all."""

    renders: Renders
    rebuilt: Tensor
    targets: dict[str, Tensor]

    def draw(self, batch: int, generator: torch.Generator) -> tuple[Tensor, Tensor]:
        """Augmented images ``[B, 3, 64, 64]`` in [0, 1] and their rows ``[B]``."""
        made = batch // 2
        real = torch.randint(len(self.renders), (batch - made,), generator=generator)
        rebuilt = torch.randint(len(self.rebuilt), (made,), generator=generator)
        images = torch.cat([self.renders.images[real], self.rebuilt[rebuilt]])
        return augment(images.float() / 255, generator), torch.cat([real, rebuilt])

    def losses(self, logits: dict[str, Tensor], rows: Tensor, smoothing: float) -> Tensor:
        """Cross entropy per head ``[heads]``, in the order of ``logits``."""
        return torch.stack(
            [
                F.cross_entropy(
                    scores,
                    self.targets[head][rows],
                    ignore_index=UNKNOWN,
                    label_smoothing=smoothing,
                )
                for head, scores in logits.items()
            ]
        )


def logits_of(network: GalleryJudge | GalleryFeatures, images: Tensor) -> dict[str, Tensor]:
    """Images ``[B, 3, H, W]`` in [0, 1] -> logits per head."""
    out = network(images)
    return network.logits(out) if isinstance(network, GalleryFeatures) else out


@torch.no_grad()
def accuracies_of(
    network: GalleryJudge | GalleryFeatures, images: Tensor, targets: dict[str, Tensor]
) -> dict[str, float]:
    """Share of right labels per head, over images whose label is known."""
    parts = [logits_of(network, part.float() / 255) for part in torch.split(images, 250)]
    shares = {}
    for head in parts[0]:
        labels = torch.cat([logits[head].argmax(1) for logits in parts])
        known = targets[head] != UNKNOWN
        shares[head] = float((labels == targets[head])[known].float().mean())
    return shares
