"""A random-weight Infinity small enough for every test: 3 scales, 21 tokens, 8 bits."""

from __future__ import annotations

import hashlib
from collections.abc import Sequence
from dataclasses import dataclass

import torch

from varbench.models.infinity.config import TokenizerConfig, TransformerConfig
from varbench.models.infinity.model import InfinityModel
from varbench.models.infinity.text import TextCondition
from varbench.models.infinity.tokenizer import BSQVAE
from varbench.models.infinity.transformer import InfinityTransformer
from varbench.models.protocol import Sampling, Schedule

SCHEDULE = Schedule(((1, 1), (2, 2), (4, 4)))


class HashedText:
    """Stands in for a text encoder: every word is a fixed random row."""

    encoder = torch.nn.Module()

    def tokens(self, prompt: str) -> list[str]:
        return [*prompt.split(), "</s>"]

    def encode(self, prompts: Sequence[str]) -> TextCondition:
        rows = []
        for prompt in prompts:
            for word in [*prompt.split(), "</s>"]:
                seed = int.from_bytes(hashlib.sha256(word.encode()).digest()[:4], "little")
                rows.append(torch.randn(128, generator=torch.Generator().manual_seed(seed)))
        return TextCondition.padded(
            torch.stack(rows).split([len(p.split()) + 1 for p in prompts]), 12
        )


def tiny_model(seed: int = 0, batch: int = 50) -> InfinityModel:
    """A fresh model; the same seed gives the same weights."""
    torch.manual_seed(seed)
    transformer = InfinityTransformer(
        TransformerConfig(width=32, depth=2, heads=2, bits=8, text_width=128, text_maxlen=12)
    )
    with torch.no_grad():  # default initialisation hardly listens to text or position
        for p in transformer.parameters():
            if p.ndim > 1:
                p.mul_(2)
    vae = BSQVAE(TokenizerConfig(8, base_width=32, width_multipliers=(1, 1), encoder_blocks=1))
    return InfinityModel(
        "tiny", transformer, vae, HashedText(), SCHEDULE,  # type: ignore[arg-type]
        Sampling(guidance=2.0, temperature=0.8), batch,
    )  # fmt: skip


@dataclass(frozen=True)
class TinyPair:
    concept: str
    neutral: str


@dataclass(frozen=True)
class TinyConcept:
    """Six training pairs."""

    name: str = "red"
    words: tuple[str, ...] = ("red",)
    synonyms: tuple[str, ...] = ()
    replacement: tuple[str, ...] = ("blue",)

    def pairs(self) -> list[TinyPair]:
        things = ("cat", "dog", "cup", "hat", "car", "box")
        return [TinyPair(f"a red {t}", f"a blue {t}") for t in things]

    def retain_prompts(self) -> list[str]:
        return [f"a green {t}" for t in ("cat", "dog", "cup", "hat")]
