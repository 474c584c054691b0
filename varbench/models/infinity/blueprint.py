"""An Infinity of any size without memory: shapes and dtypes, for counting before spending."""

from __future__ import annotations

import contextlib
from collections.abc import Iterator

import torch

from varbench.models.fake_tensors import fake_tensors
from varbench.models.infinity.config import TokenizerConfig, TransformerConfig
from varbench.models.infinity.model import InfinityModel
from varbench.models.infinity.text import TextCondition
from varbench.models.infinity.tokenizer import BSQVAE
from varbench.models.infinity.transformer import InfinityTransformer
from varbench.models.protocol import Rollout, Sampling, Schedule


@contextlib.contextmanager
def blueprint(
    transformer: TransformerConfig, tokenizer: TokenizerConfig, schedule: Schedule
) -> Iterator[InfinityModel]:
    """A model of fake tensors; inside the context everything computed is fake, too."""
    with fake_tensors():
        made = InfinityTransformer(transformer)
        yield InfinityModel("blueprint", made, BSQVAE(tokenizer), None, schedule, Sampling())


def blank_pairs(
    model: InfinityModel, pairs: int, text_rows: int | None = None
) -> tuple[Rollout, TextCondition]:
    """Roll-outs and prompts of so many training pairs, all zero.

    Args:
        model: decides the shapes.
        pairs: how many.
        text_rows: of every prompt; None = the model's longest, to which prompts are padded.
    """
    config, length = model.transformer.config, model.schedule.total
    tokens = torch.zeros(pairs, length, config.bits, dtype=torch.uint8)
    inputs = torch.zeros(pairs, length - 1, config.bits)
    rows = torch.zeros(pairs, text_rows or config.text_maxlen, config.text_width)
    lengths = torch.full((pairs,), rows.shape[1])
    return Rollout(tokens, inputs, model.schedule), TextCondition(rows, lengths)
