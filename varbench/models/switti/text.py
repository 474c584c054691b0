"""Text conditions of Switti: rows of two CLIP text encoders side by side, and a pooled vector.

The unconditional counterpart is the empty prompt, encoded like any other; nothing is learned.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

import torch
from torch import Tensor
from torch.nn.functional import pad

from varbench.models.common.conditions import PromptRows
from varbench.models.text.cache import TextSource
from varbench.models.text.encoders import (
    PromptFeatures,
    read_encoder,
    token_ids,
    tokens_lost,
    tokens_unread,
)

MAXLEN = 77
"""Text tokens, start and end included, of CLIP."""


@dataclass(frozen=True)
class SwittiCondition(PromptRows):
    """Text features of a batch of prompts.

    Attributes:
        rows: ``[B, T, X]`` float32, last hidden states of both encoders side by side, T fixed.
        mask: ``[B, T]`` bool, True for real rows (padding is never attended to).
        pooled: ``[B, P]`` float32, the second encoder's state at the end of the text.
    """

    mask: Tensor
    pooled: Tensor


class CLIPPair:
    """Two transformers CLIP text encoders with their tokenizers; frozen, one prompt at a time.

    A prompt is encoded alone and without padding, which both encoders would mask: its features
    never depend on its neighbours.

    Args:
        tokenizers: of the first and the second encoder; both have CLIP's vocabulary.
        encoders: ``CLIPTextModel``; the second one's pooled vector is used, before projection.
        maxlen: text tokens, start and end included; longer prompts are cut.
    """

    def __init__(
        self, tokenizers: Sequence[Any], encoders: Sequence[Any], maxlen: int = MAXLEN
    ) -> None:
        self.tokenizers = list(tokenizers)
        self.encoders = list(encoders)
        self.maxlen = maxlen

    @torch.no_grad()
    def features(self, prompt: str) -> PromptFeatures:
        """``rows`` ``[n, X]`` of both encoders and ``pooled`` ``[P]`` of the second."""
        rows = []
        for tokenizer, encoder in zip(self.tokenizers, self.encoders, strict=True):
            ids = token_ids(tokenizer, prompt, self.maxlen)
            out = encoder(input_ids=torch.tensor([ids], device=encoder.device))
            rows.append(out.last_hidden_state[0])
        text = (self.tokenizers[0], prompt, self.maxlen)
        tensors = {"rows": torch.cat(rows, dim=-1), "pooled": out.pooler_output[0]}
        return PromptFeatures(tensors, tokens_lost(*text), tokens_unread(*text))


@dataclass(frozen=True)
class CLIPSource(TextSource[SwittiCondition]):
    """Both CLIP encoders on disk, each in its folder; the empty prompt stands for no condition."""

    maxlen: int = MAXLEN
    own_prompts = ("",)

    def load(self) -> CLIPPair:
        from transformers import CLIPTextModel

        read = [read_encoder(folder, CLIPTextModel, self.dtype) for folder in self.folders]
        return CLIPPair([t for t, _ in read], [e.to(self.device) for _, e in read], self.maxlen)

    def condition(self, features: Sequence[PromptFeatures]) -> SwittiCondition:
        rows = [f.tensors["rows"].to(self.device) for f in features]
        pooled = [f.tensors["pooled"].to(self.device) for f in features]
        lengths = torch.tensor([len(r) for r in rows], device=self.device)
        steps = torch.arange(self.maxlen, device=self.device)
        return SwittiCondition(
            torch.stack([pad(r, (0, 0, 0, self.maxlen - len(r))) for r in rows]),
            steps < lengths[:, None],
            torch.stack(pooled),
        )
