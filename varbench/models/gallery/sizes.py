"""The Gallery's sizes; ``tools/gallery/recipe.py`` has the recipe that it was trained by."""

from __future__ import annotations

from varbench.models.infinity.config import TokenizerConfig, TransformerConfig
from varbench.models.protocol import Schedule

SCHEDULE = Schedule(((1, 1), (2, 2), (4, 4), (6, 6), (8, 8)))
"""The first five grids of Infinity's own square schedule; 121 tokens."""

TEXT_MAXLEN = 32
TOKENIZER = TokenizerConfig(
    bits=32, base_width=64, width_multipliers=(1, 2), encoder_blocks=1, pixel_unshuffle=4
)
TRANSFORMER = TransformerConfig(
    width=192, depth=6, heads=4, bits=32, text_width=128, text_maxlen=TEXT_MAXLEN
)
