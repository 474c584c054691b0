"""Configs of released models: files, sizes and memory, known before anything is loaded.

The values are in ``conf/model/*.yaml``; each family derives its own class from
:class:`ReleasedConfig`. Nothing here imports torch, because ``varbench list models`` reads it.
"""

from __future__ import annotations

from abc import ABC, abstractmethod
from dataclasses import dataclass
from typing import Any

from varbench.models.protocol import Schedule

BYTES = {"fp32": 4, "bf16": 2, "fp16": 2}
"""Bytes per number."""

INDEX = ".index.json"
"""Suffix of the file that maps tensors to the safetensors shards that hold them."""


@dataclass(frozen=True)
class Source:
    """The files required from one hub repository.

    Attributes:
        repository: hub id.
        revision: commit, tag or branch; a full commit hash pins the files.
        folder: where the files lie in a local folder; "" = at its top.
        files: paths in the repository; after the index of shards the shards it names, too.
        optional: read if present.
        either: alternatives, of which the first that is present is read; without any the last
            is missing.
        shards: patterns of shards, whose names are in their index.
    """

    repository: str
    revision: str
    folder: str
    files: tuple[str, ...]
    optional: tuple[str, ...] = ()
    either: tuple[str, ...] = ()
    shards: tuple[str, ...] = ()

    @property
    def patterns(self) -> tuple[str, ...]:
        """All patterns to fetch from the hub."""
        return (*self.files, *self.optional, *self.either, *self.shards)


def text_encoder(repository: str, revision: str, optional: tuple[str, ...] = ()) -> Source:
    """A text encoder in transformers' format, in a local folder named like its repository.

    Args:
        repository, revision: see :class:`Source`.
        optional: files of its tokenizer that are read if present.
    """
    weights = "model.safetensors"
    return Source(
        repository,
        revision,
        folder=repository.rpartition("/")[2],
        files=("config.json", "tokenizer.json", "tokenizer_config.json"),
        optional=optional,
        either=(weights, f"{weights}.index.json"),
        shards=("model*.safetensors",),
    )


@dataclass(frozen=True)
class Parameters:
    """Numbers of parameters of the networks that generation needs.

    Attributes:
        blocks, outer: of the transformer's blocks, and of the transformer outside them.
        tokenizer: of the image tokenizer.
        text_encoder: of the text encoders.
    """

    blocks: int
    outer: int
    tokenizer: int
    text_encoder: int

    @property
    def total(self) -> int:
        """Of all networks."""
        return self.blocks + self.outer + self.tokenizer + self.text_encoder

    def bytes(self, blocks: str, text: str) -> int:
        """Bytes of all weights with blocks and text encoders in a precision, the rest in fp32."""
        rest = BYTES["fp32"] * (self.outer + self.tokenizer)
        return BYTES[blocks] * self.blocks + rest + BYTES[text] * self.text_encoder


@dataclass(frozen=True, kw_only=True)
class ReleasedConfig(ABC):
    """A model whose weights are files on the hub.

    Attributes:
        weights: local folder that holds the files; None = the hub's cache.
    """

    weights: str | None = None

    @abstractmethod
    def sources(self) -> tuple[Source, ...]:
        """The model's own repositories first, then those of its text encoders."""

    @abstractmethod
    def described(self) -> dict[str, Any]:
        """The settings that decide an image besides the files' content, as JSON-able values."""

    @abstractmethod
    def schedule(self) -> Schedule:
        """The token grids, coarse to fine."""
