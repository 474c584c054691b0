"""Training of the Gallery's transformer and text encoder, together, on tokenised renders.

As Infinity is trained: bitwise self-correction (flips, targets recomputed on the corrupted
history), 10 % null text, cross entropy per bit with tokens weighted by 1 / side of their scale.
Unlike Infinity, the small text encoder is trained along, because there is no pretrained one.
"""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np
import torch
from torch import Tensor, nn

from tools.gallery import recipe
from tools.gallery.captions import vocabulary
from tools.gallery.data import Renders, draw_captions
from tools.gallery.optimise import optimise
from tools.gallery.quantise import draw_flips, quantise
from tools.gallery.train_tokenizer import LAYOUT
from varbench.models.gallery import sizes
from varbench.models.infinity.transformer import InfinityTransformer


def word_tokenizer() -> Any:
    """A word-level transformers tokenizer over the captions' vocabulary, ``</s>`` at the end."""
    from tokenizers import Tokenizer, models, normalizers, pre_tokenizers, processors
    from transformers import PreTrainedTokenizerFast

    special = ["<pad>", "</s>", "<unk>"]
    words = {word: i for i, word in enumerate([*special, *vocabulary()])}
    tokenizer = Tokenizer(models.WordLevel(words, unk_token="<unk>"))
    tokenizer.normalizer = normalizers.Sequence([normalizers.NFC(), normalizers.Lowercase()])
    tokenizer.pre_tokenizer = pre_tokenizers.Whitespace()
    tokenizer.post_processor = processors.TemplateProcessing(
        single="$A </s>", special_tokens=[("</s>", words["</s>"])]
    )
    return PreTrainedTokenizerFast(
        tokenizer_object=tokenizer, pad_token="<pad>", eos_token="</s>", unk_token="<unk>"
    )


class TextToBits(nn.Module):
    """Text encoder and transformer, trained as one."""

    def __init__(self, words: int) -> None:
        super().__init__()
        from transformers import T5Config, T5EncoderModel

        self.text = T5EncoderModel(T5Config(vocab_size=words, **recipe.TEXT_ENCODER))  # type: ignore[arg-type]
        self.transformer = InfinityTransformer(sizes.TRANSFORMER)

    def forward(self, ids: Tensor, mask: Tensor, null: Tensor, inputs: Tensor) -> Tensor:
        """Token ids and mask ``[B, T]``, null rows ``[B]``, inputs ``[B, L - 1, d]`` -> logits."""
        rows = self.text(ids, attention_mask=mask).last_hidden_state
        learned = self.transformer.cfg_uncond[: rows.shape[1]]
        rows = torch.where(null[:, None, None], learned, rows)
        text = self.transformer.read_text(rows, mask.bool())
        return self.transformer(inputs, text, sizes.SCHEDULE)  # type: ignore[no-any-return]


def token_weights() -> Tensor:
    """``[L]``, 1 / side of each token's scale, summing to 1 (upstream's re-weighting)."""
    sides = [torch.full((h * w,), (h * w) ** -0.5) for h, w in sizes.SCHEDULE.scales]
    weights = torch.cat(sides)
    return weights / weights.sum()


def row_weights(renders: Renders) -> Tensor:
    """``[N]``, the chance of each render to be drawn: compositions make up `recipe.COMPOSED`."""
    composed = torch.tensor([scene.is_composition for scene in renders.scenes])
    share = composed.double().mean()
    return torch.where(composed, recipe.COMPOSED / share, (1 - recipe.COMPOSED) / (1 - share))


def train_transformer(
    renders: Renders, latents: Tensor, folder: Path, seed: int
) -> tuple[TextToBits, Any]:
    """Train on all renders; returns averaged weights and the word tokenizer."""
    torch.manual_seed(seed)
    tokenizer = word_tokenizer()
    module = TextToBits(len(tokenizer))
    weights, chances = token_weights(), row_weights(renders)
    stage = recipe.TRANSFORMER_STAGE

    def loss_of(step: int, generator: torch.Generator) -> dict[str, Tensor]:
        rows = torch.multinomial(chances, stage.batch, replacement=True, generator=generator)
        rng = np.random.default_rng([seed, step])
        captions = draw_captions((renders.scenes[i] for i in rows), rng, recipe.IMPLIED)
        text = tokenizer(captions, padding=True, return_tensors="pt")
        null = torch.rand(stage.batch, generator=generator) < recipe.NULL_TEXT
        flips = draw_flips(
            stage.batch, sizes.TOKENIZER.bits, LAYOUT, recipe.SELF_CORRECTION, generator
        )
        made = quantise(latents[rows], LAYOUT, flips)
        logits = module(text.input_ids, text.attention_mask, null, made.inputs)
        losses = nn.functional.cross_entropy(
            logits.flatten(0, 2), made.targets.long().flatten(), reduction="none"
        )
        per_token = losses.view(stage.batch, len(weights), -1).mean(dim=(0, 2))
        numbers = {"loss": (per_token * weights).sum()}
        for scale, rows_of in enumerate(sizes.SCHEDULE.slices()):
            numbers[f"bits_{scale}"] = per_token[rows_of].mean().detach()
        return numbers

    trained = optimise("transformer", module, loss_of, stage, folder, seed + 2)
    return trained, tokenizer  # type: ignore[return-value]
