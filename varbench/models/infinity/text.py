"""Text conditions: T5 encoder rows, padded to one fixed length, with their true lengths."""

from __future__ import annotations

import logging
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Protocol

import torch
from safetensors import SafetensorError
from torch import Tensor

from varbench.errors import CheckpointError, UserError
from varbench.models.fingerprints import fingerprint_of

log = logging.getLogger(__name__)
SHOWN = 60
"""Characters of a prompt that messages quote."""


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


@dataclass(frozen=True)
class PromptFeatures:
    """What the encoder says of one prompt.

    Attributes:
        rows: ``[n, C]`` in the encoder's dtype, end-of-sequence included.
        lost: tokens of the prompt that did not fit.
    """

    rows: Tensor
    lost: int


class PromptEncoder(Protocol):
    """What a model asks of a text encoder, wherever the features come from."""

    truncated: dict[str, int]
    """Prompts so far that did not fit, with the number of tokens that each lost."""

    def encode(self, prompts: Sequence[str]) -> TextCondition:
        """Prompts -> float32 rows, padded to the longest prompt that the model takes."""
        ...

    def fingerprint(self) -> str:
        """Hash of what decides the features."""
        ...


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
        from transformers import AutoTokenizer, T5EncoderModel
        from transformers.utils import logging as transformers_logging

        # Without its file transformers makes up a tokenizer that knows no word.
        absent = [f for f in ("config.json", "tokenizer.json") if not (folder / f).is_file()]
        if absent:
            raise CheckpointError(f"no text encoder in {folder}: it lacks {', '.join(absent)}")
        transformers_logging.disable_progress_bar()  # it does not know ours
        verbosity = transformers_logging.get_verbosity()
        transformers_logging.set_verbosity_error()  # what it would warn of is an error below
        try:
            tokenizer = AutoTokenizer.from_pretrained(folder, local_files_only=True)
            loaded: Any = T5EncoderModel.from_pretrained(
                folder,
                local_files_only=True,
                dtype=dtype,
                ignore_mismatched_sizes=True,
                output_loading_info=True,
            )
        except (OSError, ValueError, RuntimeError, SafetensorError) as error:
            raise CheckpointError(f"no usable text encoder in {folder}: {error}") from error
        finally:
            transformers_logging.set_verbosity(verbosity)
        encoder, report = loaded
        # transformers fills what does not fit with random numbers.
        misfits = {*report["missing_keys"], *(name for name, *_ in report["mismatched_keys"])}
        if misfits:
            names = ", ".join(sorted(misfits)[:10])
            raise CheckpointError(
                f"{folder} does not fit its config.json; missing or of another shape: "
                f"{names}{' ...' if len(misfits) > 10 else ''}"
            )
        # Not encoder.to(device, dtype): it would round what has to stay float32.
        return cls(tokenizer, torch.nn.Module.to(encoder, device), maxlen)

    @torch.no_grad()
    def features(self, prompt: str) -> PromptFeatures:
        """Rows of one prompt.

        Raises:
            UserError: the encoder overflows.
        """
        ids = self.tokenizer(prompt, verbose=False).input_ids
        lost = max(0, len(ids) - self.maxlen)
        if lost:  # not ids[:maxlen]: the end-of-sequence token stays
            ids = self.tokenizer(prompt, truncation=True, max_length=self.maxlen).input_ids
        batch = torch.tensor([ids], device=self.encoder.device)
        rows = self.encoder(batch, attention_mask=torch.ones_like(batch)).last_hidden_state[0]
        if not rows.isfinite().all():
            raise UserError(
                f"the text encoder gives infinite or undefined features in {rows.dtype} for the "
                f"prompt {prompt[:SHOWN]!r}: load it in bfloat16 or float32"
            )
        return PromptFeatures(rows, lost)

    def encode(self, prompts: Sequence[str]) -> TextCondition:
        """Prompts -> float32 rows padded to ``maxlen``."""
        found = {prompt: self.features(prompt) for prompt in dict.fromkeys(prompts)}
        report_lost(self.truncated, found, self.maxlen)
        return as_condition([found[prompt] for prompt in prompts], self.maxlen, self.encoder.device)

    def fingerprint(self) -> str:
        """SHA-256 over the encoder's weights (16 hex digits)."""
        return fingerprint_of([], [self.encoder])


def as_condition(
    features: Sequence[PromptFeatures], maxlen: int, device: torch.device
) -> TextCondition:
    """One row of a batch per prompt."""
    rows = torch.cat([f.rows.to(device).float() for f in features])
    return TextCondition.from_compact(rows, [len(f.rows) for f in features], maxlen)


def report_lost(
    truncated: dict[str, int], found: Mapping[str, PromptFeatures], maxlen: int
) -> None:
    """Note prompts that lost tokens in ``truncated``, with a warning for each new one."""
    for prompt, features in found.items():
        if features.lost and prompt not in truncated:
            truncated[prompt] = features.lost
            log.warning(
                "prompt cut to %d tokens, its last %d are lost: %r...",
                maxlen, features.lost, prompt[:SHOWN],
            )  # fmt: skip
