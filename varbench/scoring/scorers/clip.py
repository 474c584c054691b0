"""CLIP: cosine of image and prompt, and embeddings of both (open_clip models).

The Gallery has its own tiny CLIP; images of any other model are scored by OpenAI's ViT-L/14 (role
`clip`) and ViT-B/32 (`clip_b32`), with the activation that OpenAI trained with (QuickGELU: without
it every cosine is another); the files are OpenAI's own. Preprocessing is open_clip's and CLIP's:
the shorter side to 224 by bicubic resizing, the middle square, CLIP's mean and deviation. Texts are
cut after 77 tokens, start and end included. Everything is computed in float32, though the files
hold float16: half precision moves a cosine in the third digit.
"""

from __future__ import annotations

import warnings
from collections.abc import Sequence
from functools import cached_property
from pathlib import Path
from typing import ClassVar

import torch
from torch import Tensor

from varbench.data.published.data_folder import network_path
from varbench.errors import machine_failed
from varbench.metrics.groups import Array, row_blocks
from varbench.scoring.gallery_networks import CLIP_FOLDER, ClipParts, default_folder, load_clip
from varbench.scoring.scorers.images import (
    BatchScorer,
    files_fingerprint,
    float_rows,
    network_fingerprint,
    reading,
)
from varbench.utils.images import read_rgb


class ClipScorer(BatchScorer):
    """Cosine between an image and its prompt, by the Gallery's small CLIP.

    `cosine` float32 [n] in -1..1; `image` and `text` float32 [n, e], rows of length one.
    """

    version = 2  # 1 stored no text rows

    @cached_property
    def _network(self) -> ClipParts:
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
        model, _, tokenizer = self._network
        parts = [tokenizer(list(texts[rows])) for rows in row_blocks(len(texts), self._batch)]
        encoded = [_unit(model.encode_text(tokens.to(self._device))) for tokens in parts]
        return float_rows(torch.cat(encoded))

    def _score(self, files: Sequence[Path], prompts: Sequence[str]) -> dict[str, Array]:
        model, preprocess, tokenizer = self._network
        images = torch.stack([preprocess(read_rgb(file)) for file in files])
        image = _unit(model.encode_image(images.to(self._device)))
        text = _unit(model.encode_text(tokenizer(list(prompts)).to(self._device)))
        cosine = (image * text).sum(dim=-1).clamp(-1, 1)
        return {"cosine": float_rows(cosine), "image": float_rows(image), "text": float_rows(text)}


class StandardClip(ClipScorer):
    """A CLIP from a published file, known by name."""

    version = 1
    network: ClassVar[str]
    architecture: ClassVar[str]  # as open_clip calls it

    def _load(self) -> ClipParts:
        return load_openai_clip(network_path(self.network), self.architecture)

    def fingerprint(self) -> str:
        return network_fingerprint(self.network, self.version, self.architecture)


class ClipL14(StandardClip):
    """ViT-L/14 at 224 pixels, e = 768: the model of most CLIP scores since 2022."""

    network = "clip-vit-l-14"
    architecture = "ViT-L-14-quickgelu"


class ClipB32(StandardClip):
    """ViT-B/32 at 224 pixels, e = 512: the model of most CLIP scores in papers on erasure."""

    network = "clip-vit-b-32"
    architecture = "ViT-B-32-quickgelu"


def load_openai_clip(path: Path, architecture: str) -> ClipParts:
    """A CLIP from one of OpenAI's files: a TorchScript archive or a plain state dict.

    The model is in float32 and evaluation mode. Any other file is a CheckpointError.
    """
    import open_clip

    model = open_clip.CLIP(**open_clip.get_model_config(architecture))
    with reading(path, architecture):
        state = _state_dict(path)
        for setting in ("input_resolution", "context_length", "vocab_size"):
            state.pop(setting, None)
        model.load_state_dict(state)
    preprocess = open_clip.image_transform(model.visual.image_size, is_train=False)
    return model.eval().requires_grad_(False), preprocess, open_clip.get_tokenizer(architecture)


def _state_dict(path: Path) -> dict[str, Tensor]:
    try:
        with warnings.catch_warnings():  # the format is deprecated, the files are not ours
            warnings.filterwarnings("ignore", "`torch.jit.load`", FutureWarning)
            state: dict[str, Tensor] = torch.jit.load(path, map_location="cpu").state_dict()
    except RuntimeError as error:  # not an archive
        if machine_failed(error):
            raise
        state = torch.load(path, map_location="cpu", weights_only=True)
    return state


def _unit(rows: Tensor) -> Tensor:
    return torch.nn.functional.normalize(rows.float(), dim=-1)
