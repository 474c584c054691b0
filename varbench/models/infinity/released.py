"""Infinity from its weights files: any size, and a released one by its config.

Released weights (``conf/model/infinity-*.yaml``) were never loaded here for want of the files:
``docs/models.md`` says what is proven.
"""

from __future__ import annotations

from functools import partial
from pathlib import Path
from typing import Any

import torch

from varbench.models.common.execution import Execution
from varbench.models.common.var_model import batch_of
from varbench.models.infinity.checkpoint import TokenizerFormat, TransformerFormat
from varbench.models.infinity.config import TokenizerConfig, TransformerConfig
from varbench.models.infinity.model import InfinityModel
from varbench.models.infinity.text import T5Source, TextCondition
from varbench.models.infinity.tokenizer import BSQVAE
from varbench.models.infinity.transformer import InfinityTransformer
from varbench.models.protocol import Schedule
from varbench.models.text.cache import CachedTextEncoder
from varbench.models.text.encoders import PromptEncoder
from varbench.models.weights.locate import Part, files_fingerprint, locate
from varbench.models.weights.rewrite import WeightsFile

DTYPES = {"fp32": torch.float32, "bf16": torch.bfloat16, "fp16": torch.float16}


def block_dtype(precision: str, name: str) -> torch.dtype:
    """Precision of a transformer tensor: only the blocks' weights are ever bfloat16.

    All else (text path, embeddings, shared AdaLN, head) is small and stays float32, as upstream.
    """
    return DTYPES[precision] if name.startswith("blocks.") else torch.float32


def assemble(
    config: Any,
    text_encoder: PromptEncoder[TextCondition],
    device: torch.device,
    *,
    transformer: TransformerConfig,
    tokenizer: TokenizerConfig,
    schedule: Schedule,
    transformer_file: WeightsFile,
    tokenizer_file: Path,
    precision: str = "fp32",
) -> InfinityModel:
    """Load transformer and tokenizer onto a device, straight from their files.

    Args:
        config: a model config, of which name, sampling, batch and strict are used.
        text_encoder: on the same device.
        device: where to put the weights.
        transformer, tokenizer: sizes.
        schedule: transformer grids, coarse to fine.
        transformer_file, tokenizer_file: weights, in any format of ``weights/tensor_files.py``.
        precision: ``fp32``, or ``bf16`` for the blocks' weights and their computation.

    Raises:
        CheckpointError: a file is missing, damaged or does not fit.
    """
    model = InfinityModel(
        name=config.name,
        transformer=transformer_file.load(
            lambda: InfinityTransformer(transformer), device, partial(block_dtype, precision)
        ),
        tokenizer=WeightsFile(tokenizer_file, TokenizerFormat()).load(
            lambda: BSQVAE(tokenizer), device
        ),
        text_encoder=text_encoder,
        schedule=schedule,
        sampling=config.sampling,
        batch=batch_of(config),
    )
    model.execution = Execution(bf16=precision == "bf16")
    return model


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
    source = T5Source(
        (text.path(""),),
        files_fingerprint([text]),
        place,
        config.transformer.text_maxlen,
        DTYPES[config.text_precision],
    )
    return assemble(
        config,
        CachedTextEncoder(source),
        place,
        transformer=config.transformer,
        tokenizer=config.tokenizer,
        schedule=config.schedule(),
        transformer_file=_weights_file(config, model),
        tokenizer_file=model.path(config.files.tokenizer),
        precision=config.precision,
    )


def weights_file(config: Any) -> WeightsFile:
    """The transformer's file, which edits change; CheckpointError if files are missing."""
    return _weights_file(config, locate(config)[0])


def _weights_file(config: Any, part: Part) -> WeightsFile:
    form = TransformerFormat(config.blocks_per_chunk)
    return WeightsFile(part.path(config.files.transformer), form)
