"""Small random Infinity models with lively logits, for the tests."""

from __future__ import annotations

import math
from collections.abc import Sequence

import torch
import torch.nn.functional as F
from torch import Tensor

from varbench.models.infinity.config import TokenizerConfig, TransformerConfig
from varbench.models.infinity.model import InfinityModel
from varbench.models.infinity.schedules import FULL_SCHEDULES, schedule_for
from varbench.models.infinity.text import TextCondition
from varbench.models.infinity.tokenizer import BSQVAE
from varbench.models.infinity.transformer import InfinityTransformer
from varbench.models.protocol import Rollout, Sampling, Schedule


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
    return TextCondition.padded(rows.split(list(lengths)), maxlen)


SCHEDULES = {
    "square, 5 scales": Schedule(FULL_SCHEDULES[1.0][:5]),
    "portrait, 6 scales": Schedule(FULL_SCHEDULES[1.5][:6]),
    "landscape, 4 scales": Schedule(FULL_SCHEDULES[0.571][:4]),
    "square, 0.06M": schedule_for("0.06M"),
}
LENGTHS = (3, 8, 1)


def model_of(schedule: Schedule, depth: int = 2) -> InfinityModel:
    torch.manual_seed(0)
    config = TransformerConfig(32, depth=depth, heads=2, bits=6, text_width=128, text_maxlen=8)
    vae = BSQVAE(TokenizerConfig(6, 32, (1, 1), encoder_blocks=1, pixel_unshuffle=4))
    transformer = randomise(InfinityTransformer(config), 0)
    return InfinityModel("tiny", transformer, vae, None, schedule, Sampling())


def pairs_of(schedule: Schedule, lengths: Sequence[int] = LENGTHS) -> tuple[Rollout, TextCondition]:
    generator = torch.Generator().manual_seed(1)
    bits = torch.randint(2, (len(lengths), schedule.total, 6), generator=generator)
    inputs = torch.randn(len(lengths), schedule.total - 1, 6, generator=generator)
    return Rollout(bits.to(torch.uint8), inputs, schedule), random_texts(lengths, 128, 8)


def logits_and_gradients(
    model: InfinityModel, pairs: Rollout, text: TextCondition
) -> dict[str, Tensor]:
    """Logits, and the gradient of their cross entropy with respect to every parameter."""
    model.weights().zero_grad()
    logits = model.logits(pairs, text)
    F.cross_entropy(logits.flatten(0, 2), pairs.tokens.flatten().long()).backward()
    named = model.weights().named_parameters()
    return {"logits": logits.detach()} | {n: p.grad.clone() for n, p in named if p.grad is not None}
