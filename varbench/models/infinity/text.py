"""Text conditions: T5 encoder rows, padded to one fixed length, with their true lengths."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import torch
from torch import Tensor


@dataclass(frozen=True)
class TextCondition:
    """Rows of the text encoder for a batch of prompts.

    Padding to one fixed length keeps tensor shapes, and so the bits of every picture,
    independent of the other prompts in a block; padded rows are masked out of every softmax.

    Attributes:
        rows: ``[B, T, C]`` float32 before ``text_norm``; zero beyond a prompt's length.
        lengths: ``[B]`` int64, true number of rows (end-of-sequence included).
        null: ``[B]`` bool or None; where True, the model's learned null rows stand in for
            ``rows``, at the same length.
    """

    rows: Tensor
    lengths: Tensor
    null: Tensor | None = None

    def __len__(self) -> int:
        return int(self.rows.shape[0])

    @property
    def mask(self) -> Tensor:
        """``[B, T]`` bool, True for real rows."""
        steps = torch.arange(self.rows.shape[1], device=self.lengths.device)
        return steps[None] < self.lengths[:, None]

    def select(self, rows: Sequence[int]) -> TextCondition:
        index = torch.as_tensor(list(rows), device=self.rows.device)
        null = None if self.null is None else self.null[index]
        return TextCondition(self.rows[index], self.lengths[index], null)

    def choose(self, other: TextCondition, take: Sequence[bool]) -> TextCondition:
        """This condition with the rows of ``other`` where ``take`` is True."""
        from_other = torch.as_tensor(list(take), device=self.rows.device)
        return TextCondition(
            torch.where(from_other[:, None, None], other.rows, self.rows),
            torch.where(from_other, other.lengths, self.lengths),
            torch.where(from_other, other.is_null, self.is_null),
        )

    @property
    def is_null(self) -> Tensor:
        """``[B]`` bool, True for unconditional rows."""
        return torch.zeros_like(self.lengths, dtype=torch.bool) if self.null is None else self.null

    @staticmethod
    def from_compact(compact: Tensor, lengths: Sequence[int], pad_to: int) -> TextCondition:
        """From packed rows ``[sum of lengths, C]``, prompt after prompt (upstream's form)."""
        if sum(lengths) != len(compact) or max(lengths) > pad_to:
            raise ValueError(f"lengths {list(lengths)} do not fit {len(compact)} rows, {pad_to}")
        rows = compact.new_zeros(len(lengths), pad_to, compact.shape[1], dtype=torch.float32)
        for row, part in zip(rows, compact.float().split(list(lengths)), strict=True):
            row[: len(part)] = part
        return TextCondition(rows, torch.tensor(lengths, device=compact.device))


class TextEncoder:
    """A transformers T5 encoder and its tokenizer; frozen, one prompt at a time.

    Prompts are encoded singly, so that a prompt's features never depend on its neighbours.
    """

    def __init__(self, tokenizer: Any, encoder: Any, maxlen: int) -> None:
        self.tokenizer = tokenizer
        self.encoder = encoder.eval().requires_grad_(False)
        self.maxlen = maxlen

    @classmethod
    def from_folder(cls, folder: Path, maxlen: int, device: torch.device) -> TextEncoder:
        """Load from a local folder in hub format."""
        from transformers import AutoTokenizer, T5EncoderModel
        from transformers.utils import logging as transformers_logging

        transformers_logging.disable_progress_bar()  # reading takes a blink
        tokenizer = AutoTokenizer.from_pretrained(folder, local_files_only=True)
        encoder = T5EncoderModel.from_pretrained(folder, local_files_only=True)
        return cls(tokenizer, torch.nn.Module.to(encoder, device).float(), maxlen)

    @torch.no_grad()
    def encode(self, prompts: Sequence[str]) -> TextCondition:
        """Prompts -> rows padded to ``maxlen``; longer prompts are cut there."""
        parts, lengths = [], []
        for prompt in prompts:
            ids = self.tokenizer(
                prompt, truncation=True, max_length=self.maxlen, return_tensors="pt"
            ).to(self.encoder.device)
            rows = self.encoder(ids.input_ids, attention_mask=ids.attention_mask)
            parts.append(rows.last_hidden_state[0].float())
            lengths.append(len(parts[-1]))
        return TextCondition.from_compact(torch.cat(parts), lengths, self.maxlen)
