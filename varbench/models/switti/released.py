"""A released Switti by its config (``conf/model/switti*.yaml``): weights in, model out.

The released files were never at hand; ``docs/models.md`` lists what was verified without.
"""

from __future__ import annotations

from typing import Any

import torch

from varbench.models.switti.checkpoint import TokenizerFormat, TransformerFormat
from varbench.models.switti.config import WEIGHTS
from varbench.models.switti.model import SwittiModel
from varbench.models.switti.text import CLIPSource
from varbench.models.switti.tokenizer import VQVAE
from varbench.models.switti.transformer import SwittiTransformer
from varbench.models.text.cache import CachedTextEncoder
from varbench.models.weights.locate import files_fingerprint, locate
from varbench.models.weights.rewrite import WeightsFile


def load(config: Any, device: str = "cpu") -> SwittiModel:
    """Load a released model, fetching its files if they are absent and there is a network.

    Args:
        config: a :class:`SwittiConfig` with name, sampling, batch and strict.
        device: where to put the weights.

    The text encoders are read when prompts are encoded and freed afterwards; give them a ``store``
    to keep their features in, or they are read for every call.

    Raises:
        CheckpointError: files missing, damaged or not fitting; the message names them.
    """
    _, codes, *encoders = locate(config)
    place = torch.device(device)
    folders = tuple(part.path("") for part in encoders)
    source = CLIPSource(folders, files_fingerprint(encoders), place)
    tokenizer_file = WeightsFile(codes.path(WEIGHTS), TokenizerFormat())
    return SwittiModel.of(
        config,
        weights_file(config).load(lambda: SwittiTransformer(config.transformer), place),
        tokenizer_file.load(lambda: VQVAE(config.tokenizer), place),
        CachedTextEncoder(source),
        config.schedule(),
    )


def weights_file(config: Any) -> WeightsFile:
    """The transformer's file, which edits change; CheckpointError if files are missing."""
    form = TransformerFormat(config.schedule().total, config.transformer.causal)
    return WeightsFile(locate(config)[0].path(WEIGHTS), form)
