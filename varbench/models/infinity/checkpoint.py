"""Formats of Infinity's weights files: two naming schemes, stale buffers, shapes."""

from __future__ import annotations

import re
from collections.abc import Mapping
from dataclasses import dataclass

import torch
from torch import Tensor

from varbench.models.weights.checkpoint import Format

STALE = re.compile(
    r"(^|\.)(zero_k_bias|lvl_1L|attn_bias_for_masking|Infinity_(in)?visible_\w+|lfq\.mask)$"
)
"""Buffers that hold no information; they may be in a file and are not read."""


@dataclass(frozen=True)
class TransformerFormat(Format):
    """A transformer's file, its blocks flat or in chunks.

    Attributes:
        blocks_per_chunk: blocks that upstream's trainer wraps together.
    """

    blocks_per_chunk: int

    def candidates(self, name: str) -> list[str]:
        match = re.fullmatch(r"blocks\.(\d+)\.(.+)", name)
        if not match:
            return [name]
        chunk, place = divmod(int(match[1]), self.blocks_per_chunk)
        return [name, f"block_chunks.{chunk}.module.{place}.{match[2]}"]

    def ignored(self, stored: str) -> bool:
        return bool(STALE.search(stored))

    def fitted(self, name: str, value: Tensor, shape: torch.Size) -> Tensor:
        # Upstream's flash kernel stores the head temperatures as [1, 1, H, 1].
        if name.endswith("scale_mul_1H11") and value.numel() == shape.numel():
            return value.reshape(shape)
        # Null rows beyond the longest prompt are never read.
        if name == "cfg_uncond" and value.ndim == 2 and value.shape[0] > shape[0]:
            return value[: shape[0]]
        return value

    def hint(self, name: str, value: Tensor, shape: torch.Size) -> str:
        if name == "cfg_uncond" and value.ndim == 2 and value.shape[1] == shape[1]:
            return f"set model.transformer.text_maxlen={value.shape[0]}; more rows were not trained"
        return ""

    def objections(self, tensors: Mapping[str, Tensor]) -> dict[str, list[str]]:
        biased = [
            n for n in tensors if n.endswith("zero_k_bias") and bool(tensors[n].float().any())
        ]
        return {"not zero, so this model has key biases, which no released one has": biased}


class TokenizerFormat(Format):
    """A tokenizer's file: plain FLUX names, or with the modules inside convolutions and norms."""

    def candidates(self, name: str) -> list[str]:
        stem, leaf = name.rsplit(".", 1)
        return [name, f"{stem}.conv.{leaf}", f"{stem}.norm.{leaf}"]

    def ignored(self, stored: str) -> bool:
        return bool(STALE.search(stored))
