"""A released Infinity by its config (``conf/model/infinity-*.yaml``): weights in, model out.

Never loaded here for want of the files: what is proven is told in ``docs/models.md``.
"""

from __future__ import annotations

from typing import Any

import torch

from varbench.models.infinity.assembly import DTYPES, Parts, assemble
from varbench.models.infinity.checkpoint import TransformerFormat
from varbench.models.infinity.model import InfinityModel
from varbench.models.infinity.schedules import schedule_for
from varbench.models.infinity.text import T5Source
from varbench.models.text.cache import CachedTextEncoder
from varbench.models.weights.locate import files_fingerprint, locate
from varbench.models.weights.rewrite import WeightsFile


def load(config: Any, device: str = "cpu") -> InfinityModel:
    """Load a released model, fetching its files if they are absent and there is a network.

    Args:
        config: an :class:`InfinityConfig` with name, sampling, batch and strict.
        device: where to put the weights.

    The text encoder is read when prompts are encoded and freed afterwards; give it a ``store`` to
    keep its features in, or it is read for every call.

    Raises:
        CheckpointError: files missing, damaged or not fitting; the message names them.
    """
    model, text = locate(config)
    place = torch.device(device)
    parts = Parts(
        transformer=config.transformer,
        tokenizer=config.tokenizer,
        schedule=schedule_for(config.pn, config.aspect_ratio),
        transformer_file=model.path(config.files.transformer),
        tokenizer_file=model.path(config.files.tokenizer),
        blocks_per_chunk=config.blocks_per_chunk,
        precision=config.precision,
    )
    source = T5Source(
        text.path(""),
        files_fingerprint([text]),
        config.transformer.text_maxlen,
        place,
        DTYPES[config.text_precision],
    )
    return assemble(parts, CachedTextEncoder(source), config, place)


def weights_file(config: Any) -> WeightsFile:
    """The transformer's file, which edits change; CheckpointError if files are missing."""
    model, _ = locate(config)
    path = model.path(config.files.transformer)
    return WeightsFile(path, TransformerFormat(config.blocks_per_chunk))
