"""Shared by all scorers: images read in batches, networks loaded and hashed."""

from __future__ import annotations

import hashlib
from abc import ABC, abstractmethod
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from functools import cached_property
from pathlib import Path
from typing import Any, ClassVar

import numpy as np
import torch
from torch import Tensor, nn

from varbench.data.published.data_folder import network_checksum
from varbench.errors import CheckpointError, machine_failed
from varbench.metrics.groups import Array, row_blocks
from varbench.scoring.base import settings_hash
from varbench.utils.images import read_rgb
from varbench.utils.weights import why_unread


class LazyNetwork(ABC):
    """A network on a device, loaded when it is first needed.

    Args:
        device: where the network runs.
        batch: images at a time, ``BATCH`` by default; changes only speed and the last digits.
    """

    BATCH: ClassVar[int] = 64

    def __init__(self, *, device: str = "cpu", batch: int | None = None) -> None:
        self._device, self._batch = torch.device(device), batch or self.BATCH

    @cached_property
    def _network(self) -> Any:
        return self._load().to(self._device).eval()

    @abstractmethod
    def _load(self) -> Any: ...


class BatchScorer(LazyNetwork):
    """A scorer whose network sees a batch of images at a time."""

    @torch.no_grad()
    def score(self, files: Sequence[Path], prompts: Sequence[str]) -> dict[str, Array]:
        check_input(files, prompts)
        blocks = row_blocks(len(files), self._batch)
        parts = [self._score(files[rows], prompts[rows]) for rows in blocks]
        return {name: np.concatenate([part[name] for part in parts]) for name in parts[0]}

    @abstractmethod
    def _score(self, files: Sequence[Path], prompts: Sequence[str]) -> dict[str, Array]:
        """The arrays of one batch, one row per file."""


def check_input(files: Sequence[Path], prompts: Sequence[str]) -> None:
    """Refuse an empty list, unequal lists and missing files before any work is spent."""
    if not files:
        raise ValueError("no images to score")
    if len(files) != len(prompts):
        raise ValueError(f"{len(files)} images but {len(prompts)} prompts; need one each")
    absent = [str(file) for file in files if not Path(file).is_file()]
    if absent:
        raise FileNotFoundError(f"{len(absent)} images are missing, the first is {absent[0]}")


def read_tensor(file: Path) -> Tensor:
    """An image `[1, 3, H, W]` float32 in [0, 1]: 800 MB at 8192 x 8192, so one at a time."""
    image = torch.from_numpy(np.array(read_rgb(file), dtype=np.uint8)).permute(2, 0, 1)
    return image[None].float().div_(255)


def fingerprint(network: nn.Module, *settings: object) -> str:
    """SHA-256 over weights and buffers (name, type, shape, bytes) and the settings' repr."""
    digest = hashlib.sha256(repr(settings).encode())
    for name, value in sorted(network.state_dict().items()):
        data = value.detach().cpu().contiguous()
        digest.update(f"{name}/{data.dtype}/{tuple(data.shape)}/".encode())
        digest.update(data.reshape(-1).view(torch.uint8).numpy().tobytes())
    return digest.hexdigest()


def files_fingerprint(folder: Path, *settings: object) -> str:
    """SHA-256 over the files of a folder (name, bytes) and the settings' repr."""
    digest = hashlib.sha256(repr(settings).encode())
    for file in sorted(path for path in folder.rglob("*") if path.is_file()):
        digest.update(f"{file.relative_to(folder).as_posix()}/".encode())
        digest.update(hashlib.sha256(file.read_bytes()).digest())
    return digest.hexdigest()


def network_fingerprint(name: str, *settings: object) -> str:
    """SHA-256 over a known network's file and the settings' repr; the network is not loaded.

    Raises:
        MissingNetworkError: the file is not on this machine.
    """
    return settings_hash((network_checksum(name), *settings))


def float_rows(rows: Tensor) -> Array:
    """A network's results as a float32 array."""
    return rows.detach().float().cpu().numpy()


@contextmanager
def reading(file: Path, network: str) -> Iterator[None]:
    """Report any error while a network is read from its file as a damaged or wrong file.

    Raises:
        CheckpointError: names the file, the network that it should hold, and the fix.
    """
    try:
        yield
    except Exception as error:  # torch raises a dozen kinds, from KeyError to UnpicklingError
        if machine_failed(error):
            raise
        raise CheckpointError(
            f"{file} is not {network}; fetch it again: {why_unread(file, error)}"
        ) from error
