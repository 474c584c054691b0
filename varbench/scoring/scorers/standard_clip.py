"""OpenAI's CLIP for images of any model: ViT-L/14 (role `clip`) and ViT-B/32 (`clip_b32`).

The networks are open_clip's, with the activation that OpenAI trained with (QuickGELU: without it
every cosine is another); the files are OpenAI's own. Preprocessing is open_clip's and CLIP's: the
shorter side to 224 by bicubic resizing, the middle square, CLIP's mean and deviation. Texts are cut
after 77 tokens, start and end included. Everything is computed in float32, though the files hold
float16: half precision moves a cosine in the third digit.
"""

from __future__ import annotations

import warnings
from pathlib import Path
from typing import ClassVar

import torch
from torch import Tensor

from varbench.data.published.networks import network_path
from varbench.scoring.gallery_networks import ClipParts
from varbench.scoring.scorers.clip import ClipScorer
from varbench.scoring.scorers.images import network_fingerprint, reading

_SETTINGS = ("input_resolution", "context_length", "vocab_size")
"""Entries of OpenAI's files that are not weights."""


class StandardClip(ClipScorer):
    """A CLIP from a published file, known by name; the same arrays as of `ClipScorer`."""

    version = 1
    network: ClassVar[str]
    architecture: ClassVar[str]  # as open_clip calls it

    def _load(self) -> ClipParts:
        return load_clip(network_path(self.network), self.architecture)

    def fingerprint(self) -> str:
        """Hash of the network's file and of its architecture.

        Raises:
            MissingNetworkError: the file is not on this machine.
        """
        return network_fingerprint(self.network, self.version, self.architecture)


class ClipL14(StandardClip):
    """ViT-L/14 at 224 pixels, e = 768: the model of most CLIP scores since 2022."""

    network = "clip-vit-l-14"
    architecture = "ViT-L-14-quickgelu"


class ClipB32(StandardClip):
    """ViT-B/32 at 224 pixels, e = 512: the model of most CLIP scores in papers on erasure."""

    network = "clip-vit-b-32"
    architecture = "ViT-B-32-quickgelu"


def load_clip(path: Path, architecture: str) -> ClipParts:
    """A CLIP from one of OpenAI's files: a TorchScript archive or a plain state dict.

    Args:
        path: the file.
        architecture: open_clip's name of what it holds.

    Returns:
        the model in float32 and evaluation mode; texts have 77 tokens.

    Raises:
        CheckpointError: the file is damaged or of another architecture.
    """
    import open_clip

    model = open_clip.CLIP(**open_clip.get_model_config(architecture))
    with reading(path, architecture):
        state = _state_dict(path)
        model.load_state_dict({k: v for k, v in state.items() if k not in _SETTINGS})
    preprocess = open_clip.image_transform(model.visual.image_size, is_train=False)
    return model.eval().requires_grad_(False), preprocess, open_clip.get_tokenizer(architecture)


def _state_dict(path: Path) -> dict[str, Tensor]:
    try:
        with warnings.catch_warnings():  # the format is deprecated, the files are not ours
            warnings.filterwarnings("ignore", "`torch.jit.load`", FutureWarning)
            state: dict[str, Tensor] = torch.jit.load(path, map_location="cpu").state_dict()
    except RuntimeError:  # not an archive
        state = torch.load(path, map_location="cpu", weights_only=True)
    return state
