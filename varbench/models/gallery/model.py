"""The Gallery's model: Infinity's classes at toy size, weights shipped with the package."""

from __future__ import annotations

import hashlib
from functools import cache
from pathlib import Path
from typing import Any

import torch

from varbench.models.gallery import sizes
from varbench.models.infinity.checkpoint import TokenizerFormat, TransformerFormat
from varbench.models.infinity.model import InfinityModel
from varbench.models.infinity.text import TextEncoder
from varbench.models.infinity.tokenizer import BSQVAE
from varbench.models.infinity.transformer import InfinityTransformer
from varbench.models.protocol import Schedule
from varbench.models.weights.rewrite import WeightsFile
from varbench.utils.files import packaged

TRANSFORMER_FILE, TOKENIZER_FILE, TEXT_FOLDER = "transformer.safetensors", "vae.safetensors", "text"


def weights_folder() -> Path:
    """Folder of the shipped weights."""
    return packaged("models/gallery/weights")


@cache
def fingerprint(folder: Path | None = None) -> str:
    """SHA-256 over the sizes and all weights files (16 hex digits)."""
    folder = folder or weights_folder()
    digest = hashlib.sha256(repr((sizes.TRANSFORMER, sizes.TOKENIZER, sizes.SCHEDULE)).encode())
    for file in sorted(folder.rglob("*")):
        if file.suffix in {".safetensors", ".json"}:
            digest.update(file.relative_to(folder).as_posix().encode())
            digest.update(hashlib.sha256(file.read_bytes()).digest())
    return digest.hexdigest()[:16]


def schedule(config: Any) -> Schedule:
    """The token grids."""
    return sizes.SCHEDULE


def load(config: Any, device: str = "cpu", folder: Path | None = None) -> InfinityModel:
    """Load the Gallery.

    Args:
        config: ``conf/model/gallery.yaml``; its ``sampling``, ``batch`` and ``strict`` are used.
        device: where to put the weights.
        folder: weights to load instead of the shipped ones.

    Raises:
        CheckpointError: weights missing or not fitting.
    """
    folder = folder or weights_folder()
    place = torch.device(device)
    tokenizer_file = WeightsFile(folder / TOKENIZER_FILE, TokenizerFormat())
    return InfinityModel.of(
        config,
        weights_file(config, folder).load(lambda: InfinityTransformer(sizes.TRANSFORMER), place),
        tokenizer_file.load(lambda: BSQVAE(sizes.TOKENIZER), place),
        TextEncoder.from_folder(folder / TEXT_FOLDER, sizes.TEXT_MAXLEN, place),
        sizes.SCHEDULE,
    )


def weights_file(config: Any, folder: Path | None = None) -> WeightsFile:
    """The transformer's file, which edits change."""
    return WeightsFile((folder or weights_folder()) / TRANSFORMER_FILE, TransformerFormat(1))
