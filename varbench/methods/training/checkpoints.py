"""Checkpoints of a training in progress: one file, replaced atomically."""

from __future__ import annotations

import io
import logging
import zlib
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import torch
from torch import nn

from varbench.errors import machine_failed
from varbench.utils.files import whole_file

log = logging.getLogger("varbench.training")
_CRC_BYTES = 4  # after torch's own bytes, the CRC-32 of these


def resume(
    path: Path, parameters: Mapping[str, nn.Parameter], optimiser: torch.optim.Optimizer
) -> tuple[int, list[dict[str, float]]]:
    """Load a checkpoint into parameters and optimiser, if there is one.

    Returns:
        The number of iterations done, and their log.
    """
    if not path.exists():
        return 0, []
    try:
        state = _read(path, parameters)
    except Exception as error:  # any kind: damage only costs the work that the file held
        if machine_failed(error):
            raise
        log.warning("%s is damaged (%s): training starts again", path, error)
        return 0, []
    with torch.no_grad():
        for name, p in parameters.items():
            p.copy_(state["parameters"][name])
    optimiser.load_state_dict(state["optimiser"])
    return int(state["step"]), list(state["log"])


def _read(path: Path, parameters: Mapping[str, nn.Parameter]) -> dict[str, Any]:
    left, crc = path.stat().st_size - _CRC_BYTES, 0
    with path.open("rb") as file:  # torch itself compares no checksum
        while left > 0 and (piece := file.read(min(left, 1 << 20))):
            left, crc = left - len(piece), zlib.crc32(piece, crc)
        if file.read() != crc.to_bytes(_CRC_BYTES, "big"):
            raise ValueError("its checksum differs")
    state: dict[str, Any] = torch.load(path, map_location="cpu", weights_only=True)
    shapes = {name: value.shape for name, value in state["parameters"].items()}
    if shapes != {name: p.shape for name, p in parameters.items()}:
        raise ValueError("it belongs to other parameters")
    return state


def save(
    path: Path,
    parameters: Mapping[str, nn.Parameter],
    optimiser: torch.optim.Optimizer,
    step: int,
    log: list[dict[str, float]],
) -> None:
    """Write a checkpoint after ``step`` iterations."""
    path.parent.mkdir(parents=True, exist_ok=True)
    state = {
        "parameters": {name: p.detach() for name, p in parameters.items()},
        "optimiser": optimiser.state_dict(),
        "step": step,
        "log": log,
    }
    with whole_file(path) as draft, _Summed(io.FileIO(draft, "w")) as file:
        torch.save(state, file)
        file.write(file.crc.to_bytes(_CRC_BYTES, "big"))


class _Summed(io.BufferedWriter):
    """Sums up what is written; where it fails, the system's error is kept, which torch hides."""

    crc = 0

    def write(self, data: Any) -> int:
        self.crc = zlib.crc32(data, self.crc)
        return super().write(data)
