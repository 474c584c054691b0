"""Text conditions of Switti: rows of two CLIP text encoders side by side, and a pooled vector.

The unconditional counterpart is the empty prompt, encoded like any other; nothing is learned.
"""

from __future__ import annotations

import logging
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import torch
from safetensors import SafetensorError
from torch import Tensor

from varbench.errors import CheckpointError

log = logging.getLogger(__name__)
MAXLEN = 77


@dataclass(frozen=True)
class SwittiCondition:
    """What the transformer reads of a batch of prompts.

    Attributes:
        rows: ``[B, T, X]`` float32, last hidden states of both encoders side by side, T fixed.
        mask: ``[B, T]`` bool, True for real rows (padding is never attended to).
        pooled: ``[B, P]`` float32, the second encoder's state at the end of the text.
    """

    rows: Tensor
    mask: Tensor
    pooled: Tensor

    def __len__(self) -> int:
        return int(self.rows.shape[0])

    def select(self, rows: Sequence[int]) -> SwittiCondition:
        index = torch.as_tensor(list(rows), device=self.rows.device)
        return SwittiCondition(self.rows[index], self.mask[index], self.pooled[index])

    def choose(self, other: SwittiCondition, take: Sequence[bool]) -> SwittiCondition:
        """This condition with the rows of ``other`` where ``take`` is True."""
        from_other = torch.as_tensor(list(take), device=self.rows.device)[:, None]
        return SwittiCondition(
            torch.where(from_other[..., None], other.rows, self.rows),
            torch.where(from_other, other.mask, self.mask),
            torch.where(from_other, other.pooled, self.pooled),
        )

    @staticmethod
    def concatenate(parts: Sequence[SwittiCondition]) -> SwittiCondition:
        """The prompts of all parts, one part after the other."""
        return SwittiCondition(
            torch.cat([p.rows for p in parts]),
            torch.cat([p.mask for p in parts]),
            torch.cat([p.pooled for p in parts]),
        )


class CLIPPair(torch.nn.Module):
    """Two transformers CLIP text encoders with their tokenizers; frozen, one prompt at a time.

    Prompts are encoded singly, so that a prompt's features never depend on its neighbours. Both
    encoders share CLIP's vocabulary, so the second tokenizer's padding is also the first's.

    Args:
        tokenizers: of the first and the second encoder.
        encoders: ``CLIPTextModel``; the second one's pooled vector is used, before projection.
        maxlen: text tokens, start and end included; shorter prompts are padded, longer ones cut,
            with one warning per prompt.
    """

    def __init__(
        self, tokenizers: Sequence[Any], encoders: Sequence[torch.nn.Module], maxlen: int = MAXLEN
    ) -> None:
        super().__init__()
        self.tokenizers = list(tokenizers)
        self.encoders = torch.nn.ModuleList(encoders)
        self.maxlen = maxlen
        self.truncated: dict[str, int] = {}
        self.eval().requires_grad_(False)

    @classmethod
    def from_folders(cls, first: Path, second: Path, device: torch.device) -> CLIPPair:
        """Load both from local folders in hub format, in float32.

        Raises:
            CheckpointError: files missing, damaged, or not those of the configured encoder.
        """
        loaded = [load_encoder(folder) for folder in (first, second)]
        return cls([t for t, _ in loaded], [e for _, e in loaded]).to(device)

    @torch.no_grad()
    def encode(self, prompts: Sequence[str]) -> SwittiCondition:
        """Prompts -> conditions, each padded to ``maxlen``."""
        return SwittiCondition.concatenate([self._one(prompt) for prompt in prompts])

    def _one(self, prompt: str) -> SwittiCondition:
        lost = len(self.tokenizers[0](prompt, verbose=False).input_ids) - self.maxlen
        if lost > 0 and prompt not in self.truncated:
            self.truncated[prompt] = lost
            log.warning("the last %d tokens of a prompt are cut off: %.60s", lost, prompt)
        rows = []
        for tokenizer, encoder in zip(self.tokenizers, self.encoders, strict=True):
            ids = tokenizer(
                prompt,
                truncation=True,
                max_length=self.maxlen,
                padding="max_length",
                return_tensors="pt",
            ).to(next(encoder.parameters()).device)
            out = encoder(input_ids=ids.input_ids, attention_mask=ids.attention_mask)
            rows.append(out.last_hidden_state)
        return SwittiCondition(
            torch.cat(rows, dim=-1), ids.attention_mask.bool(), out.pooler_output
        )


def load_encoder(folder: Path) -> tuple[Any, torch.nn.Module]:
    """Tokenizer and text encoder of one CLIP; a vision tower in the files is not read.

    Raises:
        CheckpointError: files missing, damaged, or not those of the configured encoder.
    """
    from transformers import AutoTokenizer, CLIPTextModel
    from transformers.utils import logging as transformers_logging

    names = {path.name for path in folder.iterdir()} if folder.is_dir() else set()
    if "config.json" not in names or not names & {"tokenizer.json", "vocab.json"}:
        raise CheckpointError(f"no text encoder in {folder}: config.json or tokenizer.json lacks")
    verbosity = transformers_logging.get_verbosity()
    transformers_logging.set_verbosity_error()  # what it would warn of is an error below
    try:
        tokenizer = AutoTokenizer.from_pretrained(folder, local_files_only=True)
        loaded: Any = CLIPTextModel.from_pretrained(
            folder,
            local_files_only=True,
            dtype=torch.float32,
            ignore_mismatched_sizes=True,
            output_loading_info=True,
        )
    except (OSError, ValueError, RuntimeError, SafetensorError) as error:
        raise CheckpointError(f"no usable text encoder in {folder}: {error}") from error
    finally:
        transformers_logging.set_verbosity(verbosity)
    encoder, report = loaded
    # transformers fills what does not fit with random numbers.
    misfits = sorted({*report["missing_keys"], *(name for name, *_ in report["mismatched_keys"])})
    if misfits:
        raise CheckpointError(
            f"{folder} does not fit its config.json; missing or of another shape: "
            f"{', '.join(misfits[:10])}"
        )
    return tokenizer, encoder
