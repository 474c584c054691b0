"""Text conditions: T5 encoder rows, padded to one fixed length, with their true lengths."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

import torch
from torch import Tensor

from varbench.models.common.conditions import PromptRows
from varbench.models.text.cache import TextSource
from varbench.models.text.encoders import (
    PromptFeatures,
    TextEncoders,
    read_encoder,
    report_lost,
    token_ids,
    token_names,
)


@dataclass(frozen=True)
class TextCondition(PromptRows):
    """Rows of the text encoder for a batch of prompts, before ``text_norm``.

    Attributes:
        null: ``[B]`` bool or None; where True, the model's learned null rows stand in for
            ``rows``, at the same length.
    """

    null: Tensor | None = None

    def choose(self, other: TextCondition, take: Sequence[bool]) -> TextCondition:
        first, second = (replace(c, null=c.is_null) for c in (self, other))
        return super(TextCondition, first).choose(second, take)

    @property
    def is_null(self) -> Tensor:
        """``[B]`` bool, True for unconditional rows."""
        return torch.zeros_like(self.lengths, dtype=torch.bool) if self.null is None else self.null

    def behind(self, vectors: Tensor) -> TextCondition:
        """The same prompts with free vectors ``[m, C]`` before their rows, with gradient."""
        pad_to = self.rows.shape[1]
        real = [rows[:n] for rows, n in zip(self.rows, self.lengths.tolist(), strict=True)]
        parts = [put_before(vectors.to(rows.dtype), rows, pad_to) for rows in real]
        return TextCondition.padded(parts, pad_to)


class TextEncoder(TextEncoders):
    """A T5 encoder that stays in memory, as a model's text encoder.

    Args:
        tokenizer: appends the end-of-sequence token.
        encoder, maxlen: see :class:`TextEncoders`; one warning per prompt that is cut off.
    """

    def __init__(self, tokenizer: Any, encoder: Any, maxlen: int) -> None:
        super().__init__([tokenizer], [encoder], maxlen)
        self.tokenizer, self.encoder = tokenizer, encoder
        self.truncated: dict[str, int] = {}

    @classmethod
    def from_folder(
        cls, folder: Path, maxlen: int, device: torch.device, dtype: torch.dtype = torch.float32
    ) -> TextEncoder:
        """Load from a local folder in hub format; a decoder in the files is not read.

        Args:
            folder: ``config.json``, ``tokenizer.json`` and weights.
            maxlen: see the class.
            device: where to put the weights.
            dtype: of the weights. In float16 the output projections of the feed-forward layers
                stay float32, and with them the sum over layers, which would overflow in float16;
                bfloat16 has the range and is bfloat16 throughout.

        Raises:
            CheckpointError: files missing, damaged, or not those of the configured encoder.
        """
        from transformers import T5EncoderModel

        return cls(*read_encoder(folder, T5EncoderModel, device, dtype), maxlen)

    def tokens(self, prompt: str) -> list[str]:
        """The tokens of a prompt, cut as :meth:`features` cuts them."""
        return token_names(self.tokenizer, prompt, self.maxlen)

    def encode(self, prompts: Sequence[str]) -> TextCondition:
        """Prompts -> float32 rows padded to ``maxlen``."""
        encoded = {prompt: self.features(prompt) for prompt in dict.fromkeys(prompts)}
        report_lost(self.truncated, encoded, self.maxlen)
        return TextCondition.padded([encoded[p].tensors["rows"] for p in prompts], self.maxlen)

    def soft_start(self, count: int, seed: int) -> Tensor:
        """The embeddings ``[count, C]`` of tokens drawn by the seed."""
        table: Tensor = self.encoder.get_input_embeddings().weight
        drawn = torch.randint(len(table), (count,), generator=torch.Generator().manual_seed(seed))
        return table[drawn.to(table.device)].float()

    def soft_prompts(self, prompts: Sequence[str]) -> Callable[[Tensor], TextCondition]:
        """Prompts with free vectors before their tokens, as this encoder reads both."""
        table: Tensor = self.encoder.get_input_embeddings().weight
        ids = [token_ids(self.tokenizer, prompt, self.maxlen) for prompt in prompts]
        embedded = [table[torch.tensor(row, device=table.device)] for row in ids]

        def condition(vectors: Tensor) -> TextCondition:
            batches = [put_before(vectors.to(r.dtype), r, self.maxlen)[None] for r in embedded]
            outputs = [self.encoder(inputs_embeds=batch) for batch in batches]
            return TextCondition.padded([o.last_hidden_state[0] for o in outputs], self.maxlen)

        return condition


class T5Source(TextSource[TextCondition]):
    """A T5 encoder on disk, in one folder; see :meth:`TextEncoder.from_folder`."""

    kind = "T5EncoderModel"

    def condition(self, features: Sequence[PromptFeatures]) -> TextCondition:
        rows = [f.tensors["rows"].to(self.device) for f in features]
        return TextCondition.padded(rows, self.maxlen)


def put_before(vectors: Tensor, rows: Tensor, maxlen: int) -> Tensor:
    """Free vectors ``[m, C]``, then the rows ``[n, C]`` of a prompt, in at most ``maxlen`` rows.

    What does not fit is cut off the prompt before its last row, the end of the sequence.
    """
    room = maxlen - len(vectors)
    if len(rows) > room:
        rows = torch.cat([rows[: room - 1], rows[-1:]])
    return torch.cat([vectors, rows])
