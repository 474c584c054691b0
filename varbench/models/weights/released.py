"""What a released model's config can tell before anything is loaded: its files, sizes, memory.

The figures are in ``conf/model/*.yaml``; each family derives its own class from
:class:`ReleasedConfig`. Nothing here imports torch, because ``varbench list models`` reads it.
"""

from __future__ import annotations

from abc import ABC, abstractmethod
from dataclasses import dataclass
from typing import Any, Self

BYTES = {"fp32": 4, "bf16": 2, "fp16": 2}
"""Bytes per number."""


@dataclass(frozen=True)
class Source:
    """The files wanted from one hub repository.

    Attributes:
        repository: hub id.
        revision: commit, tag or branch; a full commit hash pins the files.
        folder: where the files lie in a local folder; "" = at its top.
        files: paths in the repository; after the index of shards the shards it names, too.
        optional: read where they are there.
        either: one of these is wanted, the first that is there; none there = the last is missing.
        shards: patterns of shards, whose names only their index tells.
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
        """What to ask the hub for."""
        return (*self.files, *self.optional, *self.either, *self.shards)


def text_encoder(repository: str, revision: str, optional: tuple[str, ...] = ()) -> Source:
    """A text encoder in transformers' format, in a local folder named like its repository.

    Args:
        repository, revision: see :class:`Source`.
        optional: files of its tokenizer that are read where they are there.
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
class Memory:
    """Bytes of a model in use.

    Attributes:
        transformer, tokenizer, text_encoder: weights.
        cache: keys and values that later scales read, of one guided image: 2 conditions x 2
            (keys, values) x depth x tokens x width x bytes per number; 0 where none are kept.
    """

    transformer: int
    tokenizer: int
    text_encoder: int
    cache: int

    @property
    def weights(self) -> int:
        """Weights of all three parts."""
        return self.transformer + self.tokenizer + self.text_encoder

    @property
    def generate(self) -> int:
        """Weights and the cache: what generating one image needs at the very least."""
        return self.weights + self.cache


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
        """Whatever decides an image besides the files' content, as plain JSON-able values."""

    @abstractmethod
    def parameters(self) -> int:
        """Parameters of all networks that generation needs, the text encoders included."""

    @abstractmethod
    def memory(self) -> Memory:
        """What the model needs at its precision and image size."""

    @abstractmethod
    def at(self, precision: str) -> Self | None:
        """All weights in float32 (``fp32``), or the blocks in bfloat16 and the rest as released
        (``bf16``); None where the model does not offer it.
        """
