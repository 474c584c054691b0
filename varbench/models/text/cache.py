"""Text features cached on disk: text encoders are read only for new prompts, then freed.

T5-XL's encoder takes 2.5 GB in bfloat16 for a few milliseconds per prompt; sampling and training
need that memory. A prompt's features are some hundred kilobytes and never change, so they are
computed once per store.
"""

from __future__ import annotations

import logging
from abc import ABC, abstractmethod
from collections.abc import Sequence
from dataclasses import dataclass
from functools import cached_property
from pathlib import Path
from typing import Any, ClassVar, Generic, TypeVar

import torch
from safetensors.torch import load_file, save

from varbench.models.text.encoders import (
    PromptFeatures,
    TextEncoders,
    read_encoder,
    read_tokenizer,
    report_lost,
    token_names,
    tokens_unread,
)
from varbench.store import Stage, Store, Writer, cached
from varbench.utils.devices import threads

log = logging.getLogger(__name__)
VERSION = 1
ROWS = "rows.safetensors"

C = TypeVar("C")


@dataclass(frozen=True)
class TextSource(ABC, Generic[C]):
    """Text encoders on disk: their identity, how to read them, and the condition they give.

    Attributes:
        folders: of the encoders, in hub format.
        fingerprint: hash of the encoders' files; with ``maxlen``, ``dtype`` and the prompt's
            exact text it is the key of the features.
        device, dtype: where and in which precision the encoders compute.
        maxlen: longest prompt in tokens.
    """

    folders: tuple[Path, ...]
    fingerprint: str
    device: torch.device
    maxlen: int
    dtype: torch.dtype = torch.float32

    kind: ClassVar[str]
    """Name of transformers' class of the encoders."""

    own_prompts: ClassVar[tuple[str, ...]] = ()
    """Prompts that the model itself needs besides those of users."""

    def load(self) -> TextEncoders:
        """Read the encoders; raises as :func:`read_encoder`."""
        import transformers

        kind = getattr(transformers, self.kind)
        pairs = [read_encoder(folder, kind, self.device, self.dtype) for folder in self.folders]
        tokenizers, encoders = zip(*pairs, strict=True)
        return TextEncoders(tokenizers, encoders, self.maxlen)

    @abstractmethod
    def condition(self, features: Sequence[PromptFeatures]) -> C:
        """One row of a batch per prompt, on the device."""

    def tokens(self, prompt: str) -> list[str]:
        """The tokens of a prompt by the first encoder's tokenizer, which alone is read."""
        return token_names(self._tokenizer, prompt, self.maxlen)

    def unread(self, prompt: str) -> int:
        """Number of tokens that the first encoder's tokenizer does not know."""
        return tokens_unread(self._tokenizer, prompt, self.maxlen)

    @cached_property
    def _tokenizer(self) -> Any:
        return read_tokenizer(self.folders[0])


class CachedTextEncoder(Generic[C]):
    """Text encoders that are in memory only while they encode prompts that the store lacks.

    Args:
        source: the encoders.
        store: where features are kept; None keeps none.
    """

    def __init__(self, source: TextSource[C], store: Store | None = None) -> None:
        self.source = source
        self.store = store
        self.truncated: dict[str, int] = {}
        self._loaded: TextEncoders | None = None

    def encode(self, prompts: Sequence[str]) -> C:
        """Prompts -> the model's condition; the encoders are freed before it returns.

        Raises:
            CheckpointError: features are missing and the encoders' files are unusable.
            UserError: an encoder overflows in this dtype.
        """
        features = self._read(prompts)
        report_lost(self.truncated, features, self.source.maxlen)
        return self.source.condition([features[prompt] for prompt in prompts])

    def tokens(self, prompt: str) -> list[str]:
        """The tokens of a prompt; see :class:`TextSource`."""
        return self.source.tokens(prompt)

    def prepare(self, prompts: Sequence[str]) -> None:
        """Store the features of many prompts with one reading of the encoders; raises as `encode`.

        Without it, work that encodes block by block would read the encoders for every block.
        """
        if self.store is not None:
            self._read([*prompts, *self.source.own_prompts])

    def _read(self, prompts: Sequence[str]) -> dict[str, PromptFeatures]:
        """Features by prompt; the encoders are freed, and read again when needed."""
        try:
            return {prompt: self._features(prompt) for prompt in dict.fromkeys(prompts)}
        finally:
            if self._loaded is not None:
                self._loaded = None
                if self.source.device.type == "cuda":
                    torch.cuda.empty_cache()  # to other processes too

    def _spec(self, prompt: str) -> dict[str, Any]:
        return {
            "version": VERSION,
            "encoder": self.source.fingerprint,
            "maxlen": self.source.maxlen,
            "dtype": str(self.source.dtype).removeprefix("torch."),
            "prompt": prompt,
        }

    def _features(self, prompt: str) -> PromptFeatures:
        """Features of a prompt, computed where the store lacks them."""
        if self.store is None:
            return self._computed(prompt)

        def write(writer: Writer) -> None:
            features = self._computed(prompt)
            tensors = {name: value.cpu().contiguous() for name, value in features.tensors.items()}
            # Not save_file: it makes files that only their owner may read.
            (writer.dir / ROWS).write_bytes(save(tensors))
            writer.meta |= {"lost": features.lost, "unread": features.unread}

        entry = cached(self.store, Stage.TEXT, self._spec(prompt), write)
        unread = entry.meta.get("unread")
        if unread is None:  # an entry of an older version
            unread = self.source.unread(prompt)
        return PromptFeatures(load_file(entry.path(ROWS)), entry.meta["lost"], unread)

    def _computed(self, prompt: str) -> PromptFeatures:
        if self._loaded is None:
            log.info("reading %s", self.source)
            self._loaded = self.source.load()
        # How many threads share a sum changes its rounding, and all runs share the entries.
        with threads(1):
            return self._loaded.features(prompt)


def cached_text(model: object) -> CachedTextEncoder[Any] | None:
    """A model's text encoder if it keeps features in a store, as the model's loader chose."""
    text = getattr(model, "text_encoder", None)
    return text if isinstance(text, CachedTextEncoder) else None
