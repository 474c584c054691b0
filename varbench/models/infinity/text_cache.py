"""Text features kept on disk: the text encoder is read only for prompts never seen, then freed.

The encoder of T5-XL has 1.2 billion weights, 2.5 GB in bfloat16, and is needed for a few
milliseconds per prompt; the memory belongs to sampling and training. A prompt's features are some
hundred kilobytes and never change, so they are computed once per store.
"""

from __future__ import annotations

import logging
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import AbstractContextManager, contextmanager
from pathlib import Path
from typing import Any, Protocol

import torch
from safetensors.torch import load_file, save

from varbench.models.infinity.text import (
    PromptFeatures,
    TextCondition,
    TextEncoder,
    as_condition,
    report_lost,
)

log = logging.getLogger(__name__)
STAGE = "text"
VERSION = 1
ROWS = "rows.safetensors"


class FeatureEntry(Protocol):
    """The stored features of one prompt."""

    @property
    def meta(self) -> Mapping[str, Any]: ...

    def path(self, name: str) -> Path: ...


class FeatureWriter(Protocol):
    """An entry being written; afterwards ``entry`` is the stored one, ours or a faster one's."""

    @property
    def dir(self) -> Path: ...

    @property
    def meta(self) -> dict[str, Any]: ...

    @property
    def entry(self) -> FeatureEntry | None: ...


class FeatureStore(Protocol):
    """The part of :class:`varbench.store.Store` that is used here.

    It writes atomically, keeps the first of two writers, checks what it reads, and reports a
    damaged entry with a warning and as missing.
    """

    def get(self, stage: str, spec: Mapping[str, Any]) -> FeatureEntry | None: ...

    def write(
        self, stage: str, spec: Mapping[str, Any]
    ) -> AbstractContextManager[FeatureWriter]: ...


class CachedTextEncoder:
    """A text encoder that is in memory only while it encodes prompts that the store lacks.

    Args:
        folder: see :meth:`TextEncoder.from_folder`, as ``maxlen``, ``device`` and ``dtype``.
        fingerprint: hash of the folder's files; with ``maxlen``, ``dtype`` and the prompt's exact
            text it is the key of the features.
        store: where features are kept; None keeps none.
        load: makes the encoder.
    """

    def __init__(
        self,
        folder: Path,
        fingerprint: str,
        maxlen: int,
        device: torch.device,
        dtype: torch.dtype,
        store: FeatureStore | None = None,
        load: Callable[
            [Path, int, torch.device, torch.dtype], TextEncoder
        ] = TextEncoder.from_folder,
    ) -> None:
        self.folder = folder
        self.maxlen = maxlen
        self.device = device
        self.dtype = dtype
        self.store = store
        self.truncated: dict[str, int] = {}
        self._fingerprint = fingerprint
        self._load = load
        self._encoder: TextEncoder | None = None

    def encode(self, prompts: Sequence[str]) -> TextCondition:
        """Prompts -> float32 rows padded to ``maxlen``; the encoder is freed before it returns.

        Raises:
            CheckpointError: features are missing and the folder is unusable.
            UserError: the encoder overflows in this dtype.
        """
        found = {}
        try:
            for prompt in dict.fromkeys(prompts):
                found[prompt] = self._stored(prompt) or self._computed(prompt)
        finally:
            self.release()
        report_lost(self.truncated, found, self.maxlen)
        return as_condition([found[prompt] for prompt in prompts], self.maxlen, self.device)

    def prepare(self, prompts: Sequence[str]) -> None:
        """Store the features of many prompts with one reading of the encoder; raises as `encode`.

        Without it, work that encodes block by block would read the encoder for every block.
        """
        if self.store is None:
            return
        try:
            for prompt in dict.fromkeys(prompts):
                if self._stored(prompt) is None:
                    self._computed(prompt)
        finally:
            self.release()

    def release(self) -> None:
        """Free the encoder's memory; it is read again when needed."""
        if self._encoder is not None:
            self._encoder = None
            if self.device.type == "cuda":
                torch.cuda.empty_cache()  # to other processes too

    def fingerprint(self) -> str:
        """As given."""
        return self._fingerprint

    def _spec(self, prompt: str) -> dict[str, Any]:
        return {
            "version": VERSION,
            "encoder": self._fingerprint,
            "maxlen": self.maxlen,
            "dtype": str(self.dtype).removeprefix("torch."),
            "prompt": prompt,
        }

    def _stored(self, prompt: str) -> PromptFeatures | None:
        entry = self.store.get(STAGE, self._spec(prompt)) if self.store else None
        return None if entry is None else _read(entry)

    def _computed(self, prompt: str) -> PromptFeatures:
        if self._encoder is None:
            log.info("reading the text encoder in %s", self.folder)
            self._encoder = self._load(self.folder, self.maxlen, self.device, self.dtype)
        with _one_thread():
            features = self._encoder.features(prompt)
        if self.store is None:
            return features
        with self.store.write(STAGE, self._spec(prompt)) as writer:
            # Not save_file: it makes files that only their owner may read.
            (writer.dir / ROWS).write_bytes(save({"rows": features.rows.cpu().contiguous()}))
            writer.meta["lost"] = features.lost
        assert writer.entry is not None
        return _read(writer.entry)  # what everybody else with this store will read


@contextmanager
def _one_thread() -> Iterator[None]:
    """How a sum is split over threads changes its rounding, and all runs share the entries."""
    before = torch.get_num_threads()
    torch.set_num_threads(1)
    try:
        yield
    finally:
        torch.set_num_threads(before)


def _read(entry: FeatureEntry) -> PromptFeatures:
    return PromptFeatures(load_file(entry.path(ROWS))["rows"], entry.meta["lost"])
