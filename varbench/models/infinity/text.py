"""Text conditions: T5 encoder rows, padded to one fixed length, with their true lengths."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

import torch
from torch import Tensor
from torch.nn.functional import pad

from varbench.errors import UserError
from varbench.models.common.conditions import PromptRows
from varbench.models.text.cache import TextSource
from varbench.models.text.encoders import (
    SHOWN,
    PromptFeatures,
    read_encoder,
    report_lost,
    token_ids,
    token_names,
    tokens_lost,
    tokens_unread,
)


@dataclass(frozen=True)
class TextCondition(PromptRows):
    """Rows of the text encoder for a batch of prompts.

    Padding to one fixed length keeps tensor shapes, and so the bits of every image,
    independent of the other prompts in a block; padded rows are masked out of every softmax.

    Attributes:
        rows: ``[B, T, C]`` float32 before ``text_norm``; zero beyond a prompt's length.
        lengths: ``[B]`` int64, true number of rows (end-of-sequence included).
        null: ``[B]`` bool or None; where True, the model's learned null rows stand in for
            ``rows``, at the same length.
    """

    lengths: Tensor
    null: Tensor | None = None

    @property
    def mask(self) -> Tensor:
        """``[B, T]`` bool, True for real rows."""
        steps = torch.arange(self.rows.shape[1], device=self.lengths.device)
        return steps[None] < self.lengths[:, None]

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
        return TextCondition.from_compact(torch.cat(parts), [len(p) for p in parts], pad_to)

    @staticmethod
    def from_compact(compact: Tensor, lengths: Sequence[int], pad_to: int) -> TextCondition:
        """From packed rows ``[sum of lengths, C]``, prompt after prompt (upstream's form)."""
        if sum(lengths) != len(compact) or max(lengths) > pad_to:
            raise ValueError(f"lengths {list(lengths)} do not fit {len(compact)} rows, {pad_to}")
        parts = compact.float().split(list(lengths))
        rows = torch.stack([pad(part, (0, 0, 0, pad_to - len(part))) for part in parts])
        return TextCondition(rows, torch.tensor(lengths, device=compact.device))


class TextEncoder:
    """A transformers T5 encoder and its tokenizer; frozen, one prompt at a time.

    Prompts are encoded singly: the kernels that a batch of another shape takes round differently,
    and a prompt's features must not depend on its neighbours. A masked batch would give the same
    numbers up to rounding; it would save little, since a prompt is encoded only once.

    Args:
        tokenizer: appends the end-of-sequence token.
        encoder: in the dtype that it computes in, on its device.
        maxlen: longest prompt in tokens, end-of-sequence included; what is beyond is cut off,
            with one warning per prompt.
    """

    def __init__(self, tokenizer: Any, encoder: Any, maxlen: int) -> None:
        self.tokenizer = tokenizer
        self.encoder = encoder.eval().requires_grad_(False)
        self.maxlen = maxlen
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

        tokenizer, encoder = read_encoder(folder, T5EncoderModel, dtype)
        # Not encoder.to(device, dtype): it would round what has to stay float32.
        return cls(tokenizer, torch.nn.Module.to(encoder, device), maxlen)

    @torch.no_grad()
    def features(self, prompt: str) -> PromptFeatures:
        """Rows of one prompt.

        Raises:
            UserError: the encoder overflows.
        """
        ids = token_ids(self.tokenizer, prompt, self.maxlen)
        batch = torch.tensor([ids], device=self.encoder.device)
        rows = self.encoder(batch, attention_mask=torch.ones_like(batch)).last_hidden_state[0]
        if not rows.isfinite().all():
            raise UserError(
                f"the text encoder gives infinite or undefined features in {rows.dtype} for the "
                f"prompt {prompt[:SHOWN]!r}: load it in bfloat16 or float32"
            )
        text = (self.tokenizer, prompt, self.maxlen)
        return PromptFeatures({"rows": rows}, tokens_lost(*text), tokens_unread(*text))

    def tokens(self, prompt: str) -> list[str]:
        """The tokens of a prompt, cut as :meth:`features` cuts them."""
        return token_names(self.tokenizer, prompt, self.maxlen)

    def encode(self, prompts: Sequence[str]) -> TextCondition:
        """Prompts -> float32 rows padded to ``maxlen``."""
        encoded = {prompt: self.features(prompt) for prompt in dict.fromkeys(prompts)}
        report_lost(self.truncated, encoded, self.maxlen)
        features = [encoded[prompt] for prompt in prompts]
        return as_condition(features, self.maxlen, self.encoder.device)

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
            every = []
            for rows in embedded:
                batch = put_before(vectors.to(rows.dtype), rows, self.maxlen)[None]
                mask = batch.new_ones(batch.shape[:2], dtype=torch.int64)
                every.append(self.encoder(inputs_embeds=batch, attention_mask=mask))
            read = [out.last_hidden_state[0] for out in every]
            return TextCondition.from_compact(torch.cat(read), [len(r) for r in read], self.maxlen)

        return condition


class T5Source(TextSource[TextCondition]):
    """A T5 encoder on disk, in one folder; see :meth:`TextEncoder.from_folder`."""

    def load(self) -> TextEncoder:
        return TextEncoder.from_folder(self.folders[0], self.maxlen, self.device, self.dtype)

    def condition(self, features: Sequence[PromptFeatures]) -> TextCondition:
        return as_condition(features, self.maxlen, self.device)


def as_condition(
    features: Sequence[PromptFeatures], maxlen: int, device: torch.device
) -> TextCondition:
    """One row of a batch per prompt."""
    rows = [f.tensors["rows"].to(device).float() for f in features]
    return TextCondition.from_compact(torch.cat(rows), [len(r) for r in rows], maxlen)


def put_before(vectors: Tensor, rows: Tensor, maxlen: int) -> Tensor:
    """Free vectors ``[m, C]``, then the rows ``[n, C]`` of a prompt, in at most ``maxlen`` rows.

    What does not fit is cut off the prompt before its last row, the end of the sequence.
    """
    room = maxlen - len(vectors)
    if len(rows) > room:
        rows = torch.cat([rows[: room - 1], rows[-1:]])
    return torch.cat([vectors, rows])
