"""Small random Infinity models with lively logits, for the tests."""

from __future__ import annotations

import math
from collections.abc import Sequence

import torch

from varbench.models.infinity.config import TokenizerConfig, TransformerConfig
from varbench.models.infinity.model import InfinityModel
from varbench.models.infinity.text import TextCondition
from varbench.models.infinity.tokenizer import BSQVAE
from varbench.models.infinity.transformer import InfinityTransformer
from varbench.models.protocol import Sampling, Schedule


@torch.no_grad()
def randomise(transformer: InfinityTransformer, seed: int) -> InfinityTransformer:
    """Weights that mix well: every input moves every logit, logits of order one."""
    generator = torch.Generator().manual_seed(seed)
    for name, value in transformer.named_parameters():
        noise = torch.randn(value.shape, generator=generator)
        if name.endswith("scale_mul_1H11"):
            value.copy_(math.log(4.0) + 0.3 * noise)
            value[:, :1] = 4.9  # above the clamp at ln 100
        elif "norm" in name and name.endswith("weight"):
            value.copy_(1 + 0.1 * noise)
        elif name in ("pos_start", "lvl_embed.weight", "cfg_uncond"):
            value.copy_(noise)
        elif name.endswith(("mat_q", "ada_gss")):
            value.copy_(0.7 * noise)
        elif value.dim() > 1:
            value.copy_(noise / value.shape[-1] ** 0.5)
            if name == "head.weight":
                value.mul_(0.5)
        else:
            value.copy_(0.2 * noise)
    return transformer


def tiny_model(seed: int = 0, batch: int = 50) -> InfinityModel:
    """A random Infinity of 121 tokens with 6 bits each."""
    torch.manual_seed(seed)
    config = TransformerConfig(32, depth=2, heads=2, bits=6, text_width=128, text_maxlen=8)
    transformer = randomise(InfinityTransformer(config), seed)
    vae = BSQVAE(TokenizerConfig(6, 32, (1, 1), encoder_blocks=1, pixel_unshuffle=4))
    schedule = Schedule(((1, 1), (2, 2), (4, 4), (6, 6), (8, 8)))
    return InfinityModel("tiny", transformer, vae, None, schedule, Sampling(), batch)


def random_texts(lengths: Sequence[int], width: int, maxlen: int, seed: int = 0) -> TextCondition:
    """Random encoder rows of the given lengths."""
    generator = torch.Generator().manual_seed(seed)
    rows = torch.randn(sum(lengths), width, generator=generator)
    return TextCondition.from_compact(rows, lengths, maxlen)
