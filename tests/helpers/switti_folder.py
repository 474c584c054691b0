"""A folder with a tiny Switti in the released format, and what loads it."""

from __future__ import annotations

import shutil
from pathlib import Path
from typing import Any

import pytest
import torch
from safetensors.torch import save_file
from torch import Tensor
from typer.testing import CliRunner

from tests.helpers.switti_tiny import SCHEDULE, TOKENIZER, TRANSFORMER, tokenizer, transformer
from varbench.cli import app
from varbench.conf.compose import resolve
from varbench.conf.schema import SwittiModelConfig
from varbench.models import registry
from varbench.models.protocol import Schedule
from varbench.models.switti.config import WEIGHTS
from varbench.models.switti.model import SwittiModel
from varbench.utils.files import packaged

CPU = torch.device("cpu")
META = torch.device("meta")
WORDS = ("a", "red", "blue", "cat", "dog")
MAXLEN = 8
FOLDERS = ("Switti", "VQVAE-Switti", "clip-vit-large-patch14", "CLIP-ViT-bigG-14-laion2B-39B-b160k")
SIZES = (
    *(f"model.transformer.{k}={getattr(TRANSFORMER, k)}" for k in (
        "width", "depth", "heads", "levels", "vocabulary", "code_width", "text_width",
        "pooled_width",
    )),
    *(f"model.tokenizer.{k}={getattr(TOKENIZER, k)}" for k in (
        "vocabulary", "code_width", "base_width",
    )),
    "model.sides=[1,2,3,4]",
)  # fmt: skip


def mask_of(schedule: Schedule, causal: bool) -> Tensor:
    """The mask that the original keeps in its files."""
    levels = torch.cat([torch.full((n,), float(k)) for k, n in enumerate(schedule.lengths)])
    sees = levels[:, None] >= levels if causal else levels[:, None] == levels
    return torch.zeros(sees.shape).masked_fill(~sees, -torch.inf)[None, None]


def hub_transformer(causal: bool = False) -> dict[str, Tensor]:
    """All tensors of a transformer's file, as the original saves them."""
    levels = torch.cat([torch.full((n,), k) for k, n in enumerate(SCHEDULE.lengths)])
    state = {k: v.clone() for k, v in transformer(causal).state_dict().items()}
    mask = mask_of(SCHEDULE, causal)
    return state | {"lvl_1L": levels[None], "attn_bias_for_masking": mask}


def hub_tokenizer() -> dict[str, Tensor]:
    unread = {
        "encoder.conv_in.weight": torch.zeros(32, 3, 3, 3),
        "encoder.down.0.block.0.norm1.bias": torch.zeros(32),
        "quant_conv.weight": torch.zeros(8, 8, 3, 3),
        "quantize.ema_vocab_hit_SV": torch.zeros(10, 24),
    }
    return {k: v.clone() for k, v in tokenizer().state_dict().items()} | unread


def save_clip(folder: Path, width: int, seed: int) -> None:
    """A random CLIP text encoder with a tokenizer of whole words."""
    from tokenizers import Tokenizer, models, pre_tokenizers, processors
    from transformers import CLIPTextConfig, CLIPTextModel, PreTrainedTokenizerFast

    known = Tokenizer.from_file(str(packaged("models/gallery/weights") / "text" / "tokenizer.json"))
    prompts = sorted(word for word in known.get_vocab() if word.isalpha() and word not in WORDS)
    ids = {word: i for i, word in enumerate(("!", *WORDS, "<s>", "</s>", *prompts))}
    words = Tokenizer(models.WordLevel(ids, unk_token="!"))
    words.pre_tokenizer = pre_tokenizers.Whitespace()
    words.post_processor = processors.TemplateProcessing(
        single="<s> $A </s>", special_tokens=[("<s>", ids["<s>"]), ("</s>", ids["</s>"])]
    )
    PreTrainedTokenizerFast(
        tokenizer_object=words, bos_token="<s>", eos_token="</s>", pad_token="!", unk_token="!"
    ).save_pretrained(folder)
    torch.manual_seed(seed)
    config = CLIPTextConfig(
        vocab_size=len(ids),
        hidden_size=width,
        intermediate_size=2 * width,
        num_hidden_layers=2,
        num_attention_heads=2,
        max_position_embeddings=77,
        bos_token_id=ids["<s>"],
        eos_token_id=ids["</s>"],
        pad_token_id=ids["!"],
    )
    CLIPTextModel(config).save_pretrained(folder)


def make_hub(root: Path) -> Path:
    """Fills a folder with one folder per hub repository."""
    for folder, tensors in zip(FOLDERS, (hub_transformer(), hub_tokenizer()), strict=False):
        (root / folder).mkdir()
        save_file({k: v.contiguous() for k, v in tensors.items()}, root / folder / WEIGHTS)
    widths = (TRANSFORMER.text_width - TRANSFORMER.pooled_width, TRANSFORMER.pooled_width)
    for seed, (folder, width) in enumerate(zip(FOLDERS[2:], widths, strict=True)):
        save_clip(root / folder, width, seed)
    return root


def empty_caches(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """An empty hub cache and an empty cache of checksums."""
    monkeypatch.setattr("huggingface_hub.constants.HF_HUB_CACHE", str(tmp_path / "hub-cache"))
    monkeypatch.setenv("XDG_CACHE_HOME", str(tmp_path / "cache"))


def config_of(folder: Path, *overrides: str, name: str = "switti") -> SwittiModelConfig:
    given = [f"model.weights={folder}", *SIZES, *overrides]
    config = resolve(name, "smoke", "none", given).model
    assert isinstance(config, SwittiModelConfig)
    return config


def load(folder: Path, *overrides: str, name: str = "switti") -> SwittiModel:
    model = registry.load_model(config_of(folder, *overrides, name=name), "cpu")
    assert isinstance(model, SwittiModel)
    return model


def copy(hub: Path, target: Path) -> Path:
    """The folder again, to be damaged."""
    shutil.copytree(hub, target)
    return target


def varbench(*args: str) -> Any:
    return CliRunner().invoke(app, list(args))
