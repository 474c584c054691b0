"""A Switti small enough for every test: 4 scales, 30 tokens, 24 codes; weights by a fixed rule."""

from __future__ import annotations

import hashlib
import math
from collections.abc import Sequence
from dataclasses import replace

import torch
from torch import Tensor, nn

from varbench.models.common.conditions import concatenate
from varbench.models.common.keyed_random import uniforms
from varbench.models.protocol import Sampling, Schedule
from varbench.models.switti.config import TokenizerConfig, TransformerConfig
from varbench.models.switti.model import SwittiModel
from varbench.models.switti.text import SwittiCondition
from varbench.models.switti.tokenizer import VQVAE
from varbench.models.switti.transformer import SwittiTransformer

SCHEDULE = Schedule(((1, 1), (2, 2), (3, 3), (4, 4)))
TRANSFORMER = TransformerConfig(
    32, depth=2, heads=2, levels=4, vocabulary=24, code_width=8, text_width=20, pooled_width=12
)
TOKENIZER = TokenizerConfig(24, 8, base_width=32)
TEXT_TOKENS = 7
LENGTHS = (7, 3, 5, 1)


def numbers(name: str, shape: Sequence[int]) -> Tensor:
    """Numbers of variance 1 that depend on the name alone, on every platform."""
    count = math.prod(shape)
    spread = uniforms([(name, 0)], 0, count, 1, torch.device("cpu")).view(*shape)
    return (2 * spread - 1) * 3**0.5


@torch.no_grad()
def fill(module: nn.Module) -> None:
    """Weights by name, so that every input moves every output and logits are of order one."""
    for name, value in module.state_dict().items():
        if name.endswith(("lvl_1L", "attn_bias_for_masking", "ema_vocab_hit_SV")):
            continue
        noise = numbers(name, value.shape)
        if "norm" in name and name.endswith("weight"):
            value.copy_(1 + 0.1 * noise)
        elif name.endswith("bias"):
            value.copy_(0.3 * noise)
        elif name in ("lvl_embed.weight", "crop_embed.weight", "quantize.embedding.weight"):
            value.copy_(noise)
        elif value.ndim > 1 and not name.startswith("pos_start"):
            value.copy_(1.5 * noise / value[0].numel() ** 0.5)
        else:
            value.copy_(noise)


def transformer(causal: bool = False) -> SwittiTransformer:
    made = SwittiTransformer(replace(TRANSFORMER, causal=causal))
    fill(made)
    return made


def tokenizer() -> VQVAE:
    made = VQVAE(TOKENIZER)
    fill(made)
    return made


def texts(lengths: Sequence[int] = LENGTHS) -> SwittiCondition:
    """Made-up conditions with so many text tokens."""
    rows = numbers("rows", (len(lengths), TEXT_TOKENS, TRANSFORMER.text_width))
    pooled = numbers("pooled", (len(lengths), TRANSFORMER.pooled_width))
    return SwittiCondition(rows, torch.tensor(lengths), pooled)


class HashedText:
    """Stands in for the text encoders: every word is a fixed random row."""

    def __init__(self) -> None:
        self.truncated: dict[str, int] = {}

    def tokens(self, prompt: str) -> list[str]:
        return ["<s>", *prompt.split(), "</s>"]

    def encode(self, prompts: Sequence[str]) -> SwittiCondition:
        every = []
        for prompt in prompts:
            words = self.tokens(prompt)
            rows = torch.zeros(TEXT_TOKENS, TRANSFORMER.text_width)
            for place, word in enumerate(words):
                rows[place] = numbers(word, rows.shape[1:])
            pooled = numbers(
                hashlib.sha256(prompt.encode()).hexdigest(), (TRANSFORMER.pooled_width,)
            )
            every.append(SwittiCondition(rows[None], torch.tensor([len(words)]), pooled[None]))
        return concatenate(every)


def tiny_model(causal: bool = False, batch: int = 50) -> SwittiModel:
    """A fresh model; always the same weights."""
    return SwittiModel(
        "tiny-switti-ar" if causal else "tiny-switti",
        transformer(causal),
        tokenizer(),
        HashedText(),
        SCHEDULE,
        Sampling(guidance=3.0, top_k=12, top_p=0.95),
        batch,
    )
