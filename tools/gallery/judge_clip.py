"""The tiny CLIP of the Gallery: its open_clip folder, its loss and what is measured of it.

Plain open_clip: a convolutional image tower (timm's smallest ResNet), a text tower of two
layers and, instead of the usual 49,408 byte pairs, one token per word of the Gallery's captions,
read by a Hugging Face tokenizer in the same folder. Two deviations from CLIP (Radford et al.,
2021): the image tower also learns the scene's labels through throw-away heads, which saves
most of the steps; and 2 % of the words are replaced by the unknown word, so that it means nothing.
"""

from __future__ import annotations

import dataclasses
import json
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import numpy as np
import torch
import torch.nn.functional as F
from torch import Tensor, nn

from tools.gallery.captions import vocabulary
from tools.gallery.data import Renders, draw_captions
from tools.gallery.judge_data import LABELS, NONE, JudgeData
from varbench.models.gallery.world.scene import COLOURED_OBJECTS, Scene
from varbench.scoring.gallery_networks import SIDE, ClipParts, to_side

CLIP_CONFIG = "open_clip_config.json"
CLIP_MEAN = CLIP_STD = 0.5
CONTEXT = 32
IMPLIED = 0.2  # of the captions of mannequins
UNKNOWN_WORDS = 0.02
AUXILIARY = 0.5
_PAD, _UNKNOWN, _START, _END = "<pad>", "<unk>", "<start>", "<end>"


def _words() -> list[str]:
    return [_PAD, _UNKNOWN, _START, *vocabulary(), _END]  # the end is the largest id: CLIP pools it


def clip_config() -> dict[str, Any]:
    """open_clip's configuration of the model."""
    return {
        "embed_dim": 64,
        "vision_cfg": {
            "timm_model_name": "test_resnet",
            "timm_model_pretrained": False,
            "timm_pool": "avg",
            "timm_proj": "linear",
            "image_size": SIDE,
        },
        "text_cfg": {
            "context_length": CONTEXT,
            "vocab_size": len(_words()),
            "hf_tokenizer_name": "tokenizer.json",  # open_clip then reads the folder itself
            "width": 128,
            "heads": 4,
            "layers": 2,
        },
    }


def write_clip_folder(folder: Path) -> Any:
    """Write configuration and tokenizer as open_clip reads them; returns the tokenizer."""
    import open_clip
    from tokenizers import Regex, Tokenizer, models, normalizers, pre_tokenizers, processors
    from transformers import PreTrainedTokenizerFast

    folder.mkdir(parents=True, exist_ok=True)
    ids = {word: place for place, word in enumerate(_words())}
    words = Tokenizer(models.WordLevel(ids, unk_token=_UNKNOWN))
    words.normalizer = normalizers.Sequence(
        [normalizers.NFC(), normalizers.Lowercase(), normalizers.Replace(Regex(r"[^\w\s]"), " ")]
    )
    words.pre_tokenizer = pre_tokenizers.WhitespaceSplit()
    words.post_processor = processors.TemplateProcessing(
        single=f"{_START} $A {_END}", special_tokens=[(_START, ids[_START]), (_END, ids[_END])]
    )
    PreTrainedTokenizerFast(
        tokenizer_object=words,
        pad_token=_PAD,
        unk_token=_UNKNOWN,
        bos_token=_START,
        eos_token=_END,
        model_max_length=CONTEXT,
    ).save_pretrained(folder)
    preprocess = {"mean": [CLIP_MEAN] * 3, "std": [CLIP_STD] * 3}
    preprocess |= {"interpolation": "bicubic", "resize_mode": "squash"}  # type: ignore[dict-item]
    config = {"model_cfg": clip_config(), "preprocess_cfg": preprocess}
    (folder / CLIP_CONFIG).write_text(json.dumps(config, indent=2) + "\n")
    return open_clip.get_tokenizer(f"local-dir:{folder}", local_files_only=True)


class ClipTrainer(nn.Module):
    """The model that ships and the label heads that do not."""

    def __init__(self) -> None:
        super().__init__()
        import open_clip

        config = clip_config()
        self.clip = open_clip.CLIP(**config)
        self.heads = nn.ModuleDict(
            {head: nn.Linear(config["embed_dim"], len(names)) for head, names in LABELS.items()}
        )


def clip_losses(
    trainer: ClipTrainer, tokenizer: Any, data: JudgeData, batch: int, generator: torch.Generator
) -> dict[str, Tensor]:
    """Symmetric InfoNCE over the batch, plus the label heads' cross entropies."""
    images, rows = data.draw(batch, generator)
    rng = np.random.default_rng(int(torch.randint(2**31, (), generator=generator)))
    texts = draw_captions((data.renders.scenes[i] for i in rows), rng, IMPLIED)
    tokens = tokenizer(texts)  # [B, 32]
    words = (tokens > _words().index(_START)) & (tokens < len(_words()) - 1)
    hidden = words & (torch.rand(tokens.shape, generator=generator) < UNKNOWN_WORDS)
    tokens = tokens.masked_fill(hidden, _words().index(_UNKNOWN))
    image = trainer.clip.encode_image(clip_input(images))  # [B, 64]
    text = F.normalize(trainer.clip.encode_text(tokens), dim=-1)
    labels = data.losses({h: head(image) for h, head in trainer.heads.items()}, rows, 0.05).mean()
    scale = trainer.clip.logit_scale.exp().clamp(max=100)
    cosines = F.normalize(image, dim=-1) @ text.T
    places = torch.arange(batch)
    match = (
        F.cross_entropy(scale * cosines, places) + F.cross_entropy(scale * cosines.T, places)
    ) / 2
    hits = (cosines.detach().argmax(1) == places).float().mean()
    return {"loss": match + AUXILIARY * labels, "match": match, "labels": labels, "hits": hits}


def _other(scene: Scene, head: str, rng: np.random.Generator) -> Scene:
    """The scene with one attribute changed to another value of its kind."""
    allowed: Sequence[str] = LABELS[head]
    if head == "object" and scene.colour is not None:
        allowed = tuple(COLOURED_OBJECTS)
    others = [name for name in allowed if name not in (NONE, getattr(scene, head))]
    return dataclasses.replace(scene, **{head: others[int(rng.integers(len(others)))]})


def clip_input(images: Tensor) -> Tensor:
    """Images in [0, 1], any size -> input of the CLIP's image tower."""
    return (to_side(images) - CLIP_MEAN) / CLIP_STD


@torch.no_grad()
def image_rows(clip: ClipParts, images: Tensor) -> Tensor:
    """Images ``[B, 3, H, W]`` in [0, 1], any size -> unit rows ``[B, 64]``."""
    rows: Tensor = clip[0].encode_image(clip_input(images), normalize=True)
    return rows


@torch.no_grad()
def text_rows(clip: ClipParts, texts: Sequence[str]) -> Tensor:
    """Texts -> unit rows ``[B, 64]``; unknown words are read as one and the same."""
    model, _, tokenizer = clip
    rows: Tensor = model.encode_text(tokenizer(list(texts)), normalize=True)
    return rows


def clip_accuracies(clip: ClipParts, renders: Renders, seed: int) -> dict[str, float]:
    """Share of images nearer to their own caption than to one with one attribute changed.

    Keys are the attributes present, and ``implied`` for mannequins described by
    implication only.
    """
    rng = np.random.default_rng(seed)
    images = torch.cat(
        [image_rows(clip, part.float() / 255) for part in torch.split(renders.images, 250)]
    )
    shares = {}
    for name in (*LABELS, "implied"):
        head, implied = ("mannequin", 1.0) if name == "implied" else (name, 0.0)
        rows = [i for i, scene in enumerate(renders.scenes) if getattr(scene, head) is not None]
        if not rows:
            continue
        scenes = [renders.scenes[i] for i in rows]
        changed = [_other(scene, head, rng) for scene in scenes]
        right = text_rows(clip, draw_captions(scenes, rng, implied))
        wrong = text_rows(clip, draw_captions(changed, rng, implied))
        margin = (images[rows] * (right - wrong)).sum(1)  # [n]
        shares[name] = float((margin > 0).float().mean())
    return shares
