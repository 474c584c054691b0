"""Training of the Gallery's BSQ-VAE: whole autoencoder first, then the decoder alone.

The sign quantiser passes gradients straight through. The second stage freezes the encoder, so
the codes stand still, and flips a few bits, so that the decoder forgives a sampler's errors.
"""

from __future__ import annotations

from pathlib import Path

import torch
import torch.nn.functional as F
from torch import Tensor

from tools.gallery import recipe
from tools.gallery.data import Renders
from tools.gallery.optimise import optimise
from tools.gallery.quantise import draw_flips, quantise
from varbench.models.gallery import sizes
from varbench.models.infinity.quantiser import Layout
from varbench.models.infinity.tokenizer import BSQVAE

LAYOUT = Layout(sizes.SCHEDULE)


def image_loss(made: Tensor, real: Tensor) -> Tensor:
    """L1 + L2 + L1 of the image gradients, so that outlines count as much as areas."""
    loss = F.l1_loss(made, real) + F.mse_loss(made, real)
    for dim in (2, 3):
        loss = loss + F.l1_loss(made.diff(dim=dim), real.diff(dim=dim))
    return loss


def train_tokenizer(renders: Renders, folder: Path, seed: int) -> BSQVAE:
    """Both stages; returns the averaged weights."""
    torch.manual_seed(seed)
    vae = BSQVAE(sizes.TOKENIZER)

    def whole(step: int, generator: torch.Generator) -> dict[str, Tensor]:
        rows = torch.randint(len(renders), (recipe.TOKENIZER_STAGE.batch,), generator=generator)
        real = renders.batch(rows)
        latent = vae.encode(real)
        with torch.no_grad():
            codes = quantise(latent, LAYOUT).codes
        made = vae.decoder(latent + (codes - latent).detach())
        shape = image_loss(made, real)
        commitment = F.mse_loss(latent, codes)
        l1 = F.l1_loss(made, real).detach()
        return {"loss": shape + recipe.COMMITMENT * commitment, "l1": l1, "commit": commitment}

    vae = optimise("tokenizer", vae, whole, recipe.TOKENIZER_STAGE, folder, seed)  # type: ignore[assignment]
    vae.encoder.requires_grad_(False)
    vae.decoder.requires_grad_(True)

    def decoder_only(step: int, generator: torch.Generator) -> dict[str, Tensor]:
        batch = recipe.DECODER_STAGE.batch
        rows = torch.randint(len(renders), (batch,), generator=generator)
        real = renders.batch(rows)
        flips = draw_flips(batch, sizes.TOKENIZER.bits, LAYOUT, recipe.DECODER_FLIPS, generator)
        with torch.no_grad():
            codes = quantise(vae.encode(real), LAYOUT, flips).codes
        made = vae.decoder(codes)
        return {"loss": image_loss(made, real), "l1": F.l1_loss(made, real).detach()}

    return optimise("decoder", vae, decoder_only, recipe.DECODER_STAGE, folder, seed + 1)  # type: ignore[return-value]


@torch.no_grad()
def latents_of(vae: BSQVAE, renders: Renders, batch: int = 256) -> Tensor:
    """Latents ``[N, d, 8, 8]`` of all renders."""
    rows = torch.arange(len(renders)).split(batch)
    return torch.cat([vae.encode(renders.batch(r)) for r in rows])
