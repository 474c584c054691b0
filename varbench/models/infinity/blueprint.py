"""An Infinity of any size without memory: shapes and dtypes, for counting before spending."""

from __future__ import annotations

import contextlib
import unittest.mock
from collections.abc import Iterator

import torch
from torch import Tensor
from torch._subclasses.fake_tensor import FakeTensorMode

from varbench.models.base import Rollout, Sampling, Schedule
from varbench.models.infinity.config import TokenizerConfig, TransformerConfig
from varbench.models.infinity.model import InfinityModel
from varbench.models.infinity.text import TextCondition
from varbench.models.infinity.tokenizer import BSQVAE
from varbench.models.infinity.transformer import InfinityTransformer


@contextlib.contextmanager
def blueprint(
    transformer: TransformerConfig, tokenizer: TokenizerConfig, schedule: Schedule
) -> Iterator[InfinityModel]:
    """A model of fake tensors; inside the context everything computed is fake, too.

    Unlike tensors on the meta device they have a device of their own (a CPU), so that autocast
    and the choice of attention kernels work as they do on real ones.
    """
    # `Module.to` swaps fake parameters for their casts, and fails because a fake mode refers to
    # them weakly; setting `.data`, as it does for real ones, works. peft calls it.
    swap = unittest.mock.patch("torch.utils.swap_tensors", _set_data)
    with FakeTensorMode(), swap:
        made = InfinityTransformer(transformer)
        yield InfinityModel("blueprint", made, BSQVAE(tokenizer), None, schedule, Sampling())


def _set_data(old: Tensor, new: Tensor) -> None:
    old.data = new.data


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
