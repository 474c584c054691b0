"""A folder laid out like the released Infinity-2B, at the size of the reference set."""

from __future__ import annotations

import shutil
from pathlib import Path

import torch
from safetensors.torch import load_file

from tests.helpers.paths import DATA
from varbench.models.gallery.model import weights_folder

REFERENCE = DATA / "infinity_reference"
SIZES = (
    "model.transformer.width=64",
    "model.transformer.depth=4",
    "model.transformer.heads=4",
    "model.transformer.bits=8",
    "model.transformer.text_width=256",
    "model.transformer.text_maxlen=64",
    "model.chunks=2",
    "model.tokenizer.bits=8",
    "model.tokenizer.base_width=32",
    "model.tokenizer.width_multipliers=[1,1,1,1,2]",
    "model.pn=0.06M",
    "model.text_precision=fp32",
)
FP32 = "model.precision=fp32"


def text_folder(folder: Path) -> None:
    """A random T5 encoder over the Gallery's words."""
    from transformers import AutoTokenizer, T5Config, T5EncoderModel

    folder.mkdir(parents=True)
    for name in ("tokenizer.json", "tokenizer_config.json"):
        shutil.copy(weights_folder() / "text" / name, folder)
    words = len(AutoTokenizer.from_pretrained(folder))
    torch.manual_seed(0)
    T5EncoderModel(
        T5Config(vocab_size=words, d_model=256, d_kv=16, d_ff=64, num_layers=1, num_heads=2)
    ).save_pretrained(folder)


def released_folder(root: Path) -> Path:
    """Weights nested like a training checkpoint, and the text encoder; returns the folder."""
    text_folder(root / "flan-t5-xl")
    transformer = load_file(REFERENCE / "transformer.safetensors")
    torch.save({"trainer": {"gpt_fsdp": transformer}, "epoch": 3}, root / "infinity_2b_reg.pth")
    torch.save({"vae": load_file(REFERENCE / "vae.safetensors")}, root / "infinity_vae_d32reg.pth")
    return root
