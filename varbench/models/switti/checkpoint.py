"""Formats of Switti's weights files, which hold buffers that follow from the schedule.

Both variants have the same keys and shapes; the attention mask that a transformer's file carries
tells them apart.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass

from torch import Tensor

from varbench.models.weights.checkpoint import Format

MASK = "attn_bias_for_masking"


@dataclass(frozen=True)
class TransformerFormat(Format):
    """A transformer's file.

    Attributes:
        total: tokens over all scales of the model to load.
        causal: whether its scales attend to earlier ones.
    """

    total: int
    causal: bool

    def ignored(self, stored: str) -> bool:
        return stored in (MASK, "lvl_1L")

    def objections(self, tensors: Mapping[str, Tensor]) -> dict[str, list[str]]:
        if MASK not in tensors:
            return {}
        mask = tensors[MASK]  # [1, 1, L, L], 0 where a token is attended to
        total = int(mask.shape[-1])
        if total != self.total:
            return {"made for another resolution": [f"{total} tokens, not {self.total}"]}
        causal = bool(mask[0, 0, -1, 0] == 0)
        if causal == self.causal:
            return {}
        file, model = ("Switti AR", "Switti") if causal else ("Switti", "Switti AR")
        return {"made for the other variant": [f"{file}, not {model}: choose the other model"]}


class TokenizerFormat(Format):
    """A tokenizer's file, of which generation does not need the encoder."""

    def ignored(self, stored: str) -> bool:
        return stored.startswith(("encoder.", "quant_conv.", "quantize.ema_vocab_hit_SV"))
