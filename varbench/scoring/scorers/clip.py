"""CLIP: cosine of image and prompt, and embeddings of both (open_clip models)."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from functools import cached_property
from pathlib import Path
from typing import Any

import torch
from PIL import Image
from torch import Tensor

from varbench.metrics.groups import Array
from varbench.scoring.scorers.images import (
    BATCH,
    batch_slices,
    check_input,
    files_fingerprint,
    fingerprint,
    float_rows,
    read_rgb,
)

Loader = Callable[[], tuple[Any, Callable[[Image.Image], Tensor], Callable[[list[str]], Tensor]]]
_PROBE = "a photo of one red boat, painted by two artists at night (1234)."


class ClipScorer:
    """Cosine between an image and its prompt.

    Args:
        load: returns (model, preprocess, tokenizer) as open_clip does: `model.encode_image`,
            `model.encode_text`, `preprocess(PIL image) -> [3, H, W]`,
            `tokenizer(texts) -> [B, T]`, which cuts long texts; default the Gallery's small CLIP.
            Called when first needed.
        device: where the network runs.
        batch: images at a time; changes nothing but speed and the last digits.
    """

    id = "clip"
    version = 2  # 1 stored no text rows

    def __init__(
        self, load: Loader | None = None, *, device: str = "cpu", batch: int = BATCH
    ) -> None:
        self._load: Loader = load or _gallery
        self._device, self._batch = torch.device(device), batch

    @cached_property
    def _parts(self) -> tuple[Any, Callable[[Image.Image], Tensor], Callable[[list[str]], Tensor]]:
        model, preprocess, tokenizer = self._load()
        return model.to(self._device).eval(), preprocess, tokenizer

    def fingerprint(self) -> str:
        """Hash of weights and of the outputs of preprocessing and tokenizer on a fixed probe.

        The probe stands for their settings: their repr holds memory addresses. The Gallery's own
        CLIP is identified by its files instead: importing open_clip takes seconds, which a run
        that finds everything done need not spend.
        """
        if self._load is _gallery:
            from varbench.scoring.gallery_networks import default_folder

            return files_fingerprint(default_folder() / "clip", self.version)
        model, preprocess, tokenizer = self._parts
        ramp = Image.linear_gradient("L").resize((96, 80)).convert("RGB")
        pixels = preprocess(ramp).float().mul(100).round().int()
        tokens = tokenizer([_PROBE])
        return fingerprint(model, self.version, pixels.tolist(), tokens.tolist())

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


def _gallery() -> tuple[Any, Any, Any]:
    from varbench.scoring.gallery_networks import load_clip

    model, preprocess, tokenizer = load_clip()
    return model, preprocess, tokenizer
