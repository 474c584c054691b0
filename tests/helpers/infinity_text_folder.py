"""A folder like flan-t5-xl's, with a random T5 encoder of 128 channels and fifteen words."""

from __future__ import annotations

import json
from pathlib import Path

import torch
from tokenizers import Tokenizer, decoders, models, pre_tokenizers, processors
from transformers import T5Config, T5EncoderModel

WIDTH = 128
SPECIAL = ("<pad>", "</s>", "<unk>")
WORDS = (
    "a", "the", "red", "blue", "cat", "dog", "hat", "cup", "on", "under", "of", "and", "painting",
    "portrait", "mat",
)  # fmt: skip

PROMPTS = (
    "",
    "cat",
    "a dog",
    "a red hat",
    "cat under a cup",
    "a painting of a dog",
    "the cat on the blue mat",
    "portrait of the dog and the",
)
"""Eight prompts of one to seven tokens, end-of-sequence included; two lengths occur twice."""


def write_text_folder(folder: Path, seed: int = 0) -> Path:
    """Write config, tokenizer and weights; the same seed gives the same weights."""
    folder.mkdir(parents=True)
    pieces = [(name, 0.0) for name in SPECIAL]
    pieces += [(f"▁{word}", -3.0) for word in WORDS]
    tokenizer = Tokenizer(models.Unigram([*pieces, ("▁", -2.0)], unk_id=2, byte_fallback=False))
    tokenizer.pre_tokenizer = pre_tokenizers.Sequence(
        [pre_tokenizers.WhitespaceSplit(), pre_tokenizers.Metaspace(prepend_scheme="always")]
    )
    tokenizer.decoder = decoders.Metaspace()
    tokenizer.post_processor = processors.TemplateProcessing(
        single=["$A", "</s>"], special_tokens=[("</s>", 1)]
    )
    tokenizer.add_special_tokens(list(SPECIAL))
    tokenizer.save(str(folder / "tokenizer.json"))
    settings = {"tokenizer_class": "T5Tokenizer", "extra_ids": 0, "model_max_length": 512}
    (folder / "tokenizer_config.json").write_text(json.dumps(settings))
    torch.manual_seed(seed)
    config = T5Config(
        vocab_size=len(pieces) + 1, d_model=WIDTH, d_kv=32, d_ff=192, num_layers=2, num_heads=4,
        feed_forward_proj="gated-gelu",
    )  # fmt: skip
    encoder = T5EncoderModel(config)
    with torch.no_grad():  # fresh position biases are too small to tell positions apart
        for name, value in encoder.named_parameters():
            if "relative_attention_bias" in name:
                value.mul_(20)
    encoder.save_pretrained(folder)
    return folder
