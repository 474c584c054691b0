"""Weights files as mappings from names to tensors that are read from disk when they are used.

Formats: ``.pth`` (a state dict, flat or nested as upstream's trainer saves it; only tensors are
unpickled), ``.safetensors``, and the ``.index.json`` of safetensors shards. All are memory-mapped:
a tensor costs memory once it is touched, and a shard is unmapped when the next one is opened.
"""

from __future__ import annotations

import zipfile
from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import Any

import torch
from safetensors import SafetensorError, safe_open
from torch import Tensor

from varbench.errors import CheckpointError, machine_failed
from varbench.models.weights.locate import shard_names
from varbench.models.weights.released import INDEX
from varbench.utils.weights import stand_in, why_unread

NESTS = ("trainer", "gpt_fsdp", "gpt_ema_fsdp", "vae", "ema")
"""Keys under which a state dict may be nested, in order of preference: averaged weights are read
only where the plain ones are absent."""


class Shards(Mapping[str, Tensor]):
    """Tensors of one or more safetensors files, in the order of the files.

    Args:
        names: file -> names of its tensors.
    """

    def __init__(self, names: Mapping[Path, tuple[str, ...]]) -> None:
        self._file_of = {name: path for path, inside in names.items() for name in inside}
        self._path: Path | None = None
        self._handle: Any = None

    def __getitem__(self, name: str) -> Tensor:
        tensor: Tensor = self._file(name).get_tensor(name)
        return tensor

    def outline(self, name: str) -> Tensor:
        """A tensor of the same shape without storage, from the file's header only."""
        piece = self._file(name).get_slice(name)
        if "F" not in piece.get_dtype():  # F32, BF16, F8_E4M3: all that weights can be
            return self[name]
        return torch.empty(piece.get_shape(), device="meta")

    def _file(self, name: str) -> Any:
        path = self._file_of[name]
        if path != self._path:
            self._handle = None  # unmap before mapping the next one
            self._path, self._handle = path, _open(path)
        return self._handle

    def __iter__(self) -> Iterator[str]:
        return iter(self._file_of)

    def __len__(self) -> int:
        return len(self._file_of)


def outline(tensors: Mapping[str, Tensor], name: str) -> Tensor:
    """A tensor of the same shape and kind of number, without the data if the format allows.

    Touching the start of every tensor of a large file reads pages all over the disk.
    """
    return tensors.outline(name) if isinstance(tensors, Shards) else tensors[name]


def read_tensors(path: Path) -> Mapping[str, Tensor]:
    """All tensors of a weights file (or of the shards that an index names), un-nested.

    Raises:
        CheckpointError: no such file, truncated, a pickle with anything but tensors, no tensors,
            an index that does not agree with its shards.
    """
    if not path.is_file():
        raise CheckpointError(f"no weights file at {path}")
    if stand_in(path):
        raise _damaged(path, None)
    if path.name.endswith(INDEX):
        return _read_index(path)
    if path.suffix == ".safetensors":
        return Shards({path: tuple(_open(path).keys())})
    return _read_pickle(path)


def _open(path: Path) -> Any:
    try:
        return safe_open(path, "pt")
    except (SafetensorError, OSError, ValueError) as error:
        raise _damaged(path, error) from error


def _damaged(path: Path, error: Exception | None) -> CheckpointError:
    if kind := stand_in(path):
        return CheckpointError(f"{path} is {kind}, not weights; fetch it again")
    return CheckpointError(f"{path} is damaged or truncated: {error}")


def _read_pickle(path: Path) -> Mapping[str, Tensor]:
    try:
        # torch maps only its zip format; files of its older one are read whole.
        content = torch.load(
            path, map_location="cpu", weights_only=True, mmap=zipfile.is_zipfile(path)
        )
    except (OSError, RuntimeError, EOFError, ValueError, MemoryError) as error:
        if machine_failed(error):
            raise
        raise _damaged(path, error) from error
    except Exception as error:  # pickle.UnpicklingError and what a hostile file may provoke
        raise CheckpointError(
            f"{path} is not a plain tensor file: {why_unread(path, error)}; fetch it again"
        ) from error
    while isinstance(content, Mapping) and (
        nest := next((n for n in NESTS if content.get(n) is not None), None)
    ):
        content = content[nest]
    if not isinstance(content, Mapping) or not content:
        raise CheckpointError(f"{path} holds no state dict")
    wrong = [name for name, value in content.items() if not isinstance(value, Tensor)]
    if wrong:
        raise CheckpointError(f"{path}: not tensors: {', '.join(map(str, wrong[:5]))}")
    return dict(content)


def _read_index(index: Path) -> Shards:
    names = {index.parent / file: inside for file, inside in shard_names(index).items()}
    absent = [path.name for path in names if not path.is_file()]
    if absent:
        raise CheckpointError(f"{index}: missing shards: {', '.join(absent)}; fetch them again")
    for path, inside in names.items():
        differing = sorted(set(inside) ^ set(_open(path).keys()))
        if differing:
            raise CheckpointError(
                f"{path} and its index differ in {', '.join(differing[:5])}; fetch both again"
            )
    return Shards(names)
