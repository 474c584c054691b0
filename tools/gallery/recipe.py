"""The training recipe of the Gallery; ``varbench/models/gallery/sizes.py`` has its sizes."""

from __future__ import annotations

from dataclasses import dataclass

from varbench.models.gallery import sizes

IMAGE_SIDE = 64


@dataclass(frozen=True)
class StageRecipe:
    """One optimisation: AdamW, warm-up, cosine decay to zero, exponential average of weights.

    Attributes:
        steps: optimiser steps.
        batch: images per step.
        rate: peak learning rate.
        warmup: steps of linear warm-up.
        clip: largest gradient norm.
        average: decay of the exponential moving average that is shipped.
    """

    steps: int
    batch: int
    rate: float
    warmup: int = 200
    clip: float = 1.0
    average: float = 0.998


SEED = 20261123
RENDERS = 40_000
TOKENIZER_STAGE = StageRecipe(steps=5000, batch=32, rate=1e-3)
DECODER_STAGE = StageRecipe(steps=1500, batch=32, rate=1e-3)
TRANSFORMER_STAGE = StageRecipe(steps=4000, batch=32, rate=1.5e-3)
COMMITMENT = 0.25
DECODER_FLIPS = 0.04
"""Largest share of bits flipped while the decoder alone is trained, so that it tolerates
the sampler's errors."""
SELF_CORRECTION = 0.3
COMPOSED = 0.3
"""Share of the transformer's training images that are compositions: more than their share of the
renders, because two subjects in one image are what it learns last."""
NULL_TEXT = 0.1
IMPLIED = 0.25
"""Share of the mannequins' captions that only imply how it is dressed."""
TEXT_ENCODER = {
    "d_model": sizes.TRANSFORMER.text_width,
    "d_kv": 32,
    "d_ff": 256,
    "num_layers": 2,
    "num_heads": 4,
    "dropout_rate": 0.0,
    "feed_forward_proj": "gated-gelu",
}
"""Sizes of the T5 encoder (transformers' names)."""
