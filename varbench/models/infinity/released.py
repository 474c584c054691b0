"""A released Infinity by its config: weights in, model out.

The weights (``conf/model/infinity-*.yaml``) were never loaded here for want of the files:
``docs/models.md`` says what is proven.
"""

from __future__ import annotations

from functools import partial
from typing import Any

import torch

from varbench.models.common.execution import Execution
from varbench.models.infinity.checkpoint import TokenizerFormat, TransformerFormat
from varbench.models.infinity.model import InfinityModel
from varbench.models.infinity.text import T5Source
from varbench.models.infinity.tokenizer import BSQVAE
from varbench.models.infinity.transformer import InfinityTransformer
from varbench.models.text.cache import CachedTextEncoder
from varbench.models.weights.locate import files_fingerprint, locate
from varbench.models.weights.rewrite import WeightsFile

DTYPES = {"fp32": torch.float32, "bf16": torch.bfloat16, "fp16": torch.float16}


def block_dtype(precision: str, name: str) -> torch.dtype:
    """Precision of a transformer tensor: only the blocks' weights are ever bfloat16.

    All else (text path, embeddings, shared AdaLN, head) is small and stays float32, as upstream.
    """
    return DTYPES[precision] if name.startswith("blocks.") else torch.float32


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
    files, text = locate(config)
    place = torch.device(device)
    source = T5Source(
        (text.path(""),),
        files_fingerprint([text]),
        place,
        config.transformer.text_maxlen,
        DTYPES[config.text_precision],
    )
    tokenizer_file = WeightsFile(files.path(config.files.tokenizer), TokenizerFormat())
    model = InfinityModel.of(
        config,
        weights_file(config).load(
            lambda: InfinityTransformer(config.transformer),
            place,
            partial(block_dtype, config.precision),
        ),
        tokenizer_file.load(lambda: BSQVAE(config.tokenizer), place),
        CachedTextEncoder(source),
        config.schedule(),
    )
    model.execution = Execution(bf16=config.precision == "bf16")
    return model


def weights_file(config: Any) -> WeightsFile:
    """The transformer's file, which edits change; CheckpointError if files are missing."""
    path = locate(config)[0].path(config.files.transformer)
    return WeightsFile(path, TransformerFormat(config.blocks_per_chunk))
