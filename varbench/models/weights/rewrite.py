"""Weights files written again with some tensors replaced, in the format they came in.

The file keeps its name, its keys and its tensors' shapes, so that readers of the original read the
copy. Two things may differ: a nested ``.pth`` comes out flat, and a replaced tensor has the
replacement's precision (an edit is kept in float32 where the file may hold 16 bits), because
rounding it would change the model that was measured.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass
from pathlib import Path

import torch
from safetensors.torch import save
from torch import Tensor

from varbench.errors import CheckpointError
from varbench.models.weights.checkpoint import Format, Module, load_new
from varbench.models.weights.locate import shard_names
from varbench.models.weights.released import INDEX
from varbench.models.weights.tensor_files import read_tensors


@dataclass(frozen=True)
class WeightsFile:
    """A file of weights, such as the one that a model's trainable weights are loaded from.

    Attributes:
        path: a ``.pth``, a ``.safetensors`` or the ``.index.json`` of shards.
        form: how its tensors stand for those of the module (``model.weights()``).
    """

    path: Path
    form: Format

    def load(
        self,
        build: Callable[[], Module],
        device: torch.device,
        dtype: Callable[[str], torch.dtype] = lambda _: torch.float32,
    ) -> Module:
        """A module with the file's weights; see :func:`load_new`."""
        tensors = read_tensors(self.path)
        return load_new(build, tensors, self.form, str(self.path), device=device, dtype=dtype)


def rewrite(file: WeightsFile, changed: Mapping[str, Tensor], folder: Path) -> list[Path]:
    """Write a weights file into a folder, with some tensors changed.

    Args:
        file: the original.
        changed: new values by the model's names, in the model's shapes.
        folder: where to; the names of the files stay.

    Returns:
        The files written: one, or an index and its shards.

    Raises:
        CheckpointError: a changed tensor is in no place of the file, or the file is damaged.
    """
    tensors = read_tensors(file.path)
    new: dict[str, Tensor] = {}
    for name, value in changed.items():
        stored = next((c for c in file.form.candidates(name) if c in tensors), None)
        if stored is None:
            raise CheckpointError(f"{file.path} has no place for the edited tensor {name}")
        new[stored] = _placed(tensors[stored], value, f"{file.path}: {stored}")
    folder.mkdir(parents=True, exist_ok=True)
    if not file.path.name.endswith(INDEX):
        return [_write({n: new.get(n, tensors[n]) for n in tensors}, folder / file.path.name)]
    written = [folder / file.path.name]
    written[0].write_bytes(file.path.read_bytes())
    for shard, names in shard_names(file.path).items():  # one at a time: each may be 5 GB
        written.append(_write({n: new.get(n, tensors[n]) for n in names}, folder / shard))
    return written


def _placed(old: Tensor, value: Tensor, where: str) -> Tensor:
    """The new value in the file's shape; rows that the model does not read stay as they are."""
    if old.numel() == value.numel():
        return value.detach().cpu().reshape(old.shape).contiguous()
    if old.ndim == value.ndim and old.shape[1:] == value.shape[1:] and len(old) > len(value):
        whole = old.to(value.dtype, copy=True)
        whole[: len(value)] = value
        return whole
    raise CheckpointError(
        f"{where} is {tuple(old.shape)}, which an edit of {tuple(value.shape)} does not fit"
    )


def _write(tensors: dict[str, Tensor], path: Path) -> Path:
    if path.suffix == ".safetensors":
        path.write_bytes(save({n: t.contiguous() for n, t in tensors.items()}, {"format": "pt"}))
    else:
        with path.open("wb") as file:  # one of Python's, for the system's error if the disk is full
            torch.save({n: t.clone() for n, t in tensors.items()}, file)
    return path
