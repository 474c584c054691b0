"""CLIP: cosine of image and prompt, and embeddings of both (open_clip models)."""

from __future__ import annotations

from collections.abc import Sequence
from functools import cached_property
from pathlib import Path

import torch
from torch import Tensor

from varbench.metrics.groups import Array
from varbench.scoring.gallery_networks import CLIP_FOLDER, ClipParts, default_folder, load_clip
from varbench.scoring.scorers.images import (
    BATCH,
    batch_slices,
    check_input,
    files_fingerprint,
    float_rows,
    read_rgb,
)


class ClipScorer:
    """Cosine between an image and its prompt, by the Gallery's small CLIP.

    Args:
        device: where the network runs.
        batch: images at a time; changes nothing but speed and the last digits.
    """

    version = 2  # 1 stored no text rows

    def __init__(self, *, device: str = "cpu", batch: int = BATCH) -> None:
        self._device, self._batch = torch.device(device), batch

    @cached_property
    def _parts(self) -> ClipParts:
        model, preprocess, tokenizer = self._load()
        return model.to(self._device).eval(), preprocess, tokenizer

    def _load(self) -> ClipParts:
        return load_clip()

    def fingerprint(self) -> str:
        """Hash of the network's files.

        Importing open_clip takes seconds, which a run that finds everything done need not spend.
        """
        return files_fingerprint(default_folder() / CLIP_FOLDER, self.version)

    @torch.inference_mode()
    def text_rows(self, texts: Sequence[str]) -> Array:
        """Embeddings of texts, float32 [m, e], rows of length one."""
        model, _, tokenizer = self._parts
        parts = [tokenizer(list(texts[rows])) for rows in batch_slices(len(texts), self._batch)]
        return float_rows([_unit(model.encode_text(tokens.to(self._device))) for tokens in parts])

    @torch.inference_mode()
    def score(self, files: Sequence[Path], prompts: Sequence[str]) -> dict[str, Array]:
        """`cosine` float32 [n] in -1..1; `image` and `text` float32 [n, e], rows of length one."""
        check_input(files, prompts)
        model, preprocess, tokenizer = self._parts
        cosines, image_rows, texts = [], [], []
        for rows in batch_slices(len(files), self._batch):
            images = torch.stack([preprocess(read_rgb(file)) for file in files[rows]])
            image = _unit(model.encode_image(images.to(self._device)))
            text = _unit(model.encode_text(tokenizer(list(prompts[rows])).to(self._device)))
            cosines.append((image * text).sum(dim=-1).clamp(-1, 1))
            image_rows.append(image)
            texts.append(text)
        return {
            "cosine": float_rows(cosines),
            "image": float_rows(image_rows),
            "text": float_rows(texts),
        }


def _unit(rows: Tensor) -> Tensor:
    return torch.nn.functional.normalize(rows.float(), dim=-1)
