"""Checkpoints of a training in progress: one file, replaced atomically."""

from __future__ import annotations

import logging
import zipfile
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import torch
from torch import nn

from varbench.errors import machine_failed
from varbench.utils.files import whole_file

log = logging.getLogger("varbench.training")


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
    with zipfile.ZipFile(path) as archive:  # torch's format
        if (damaged := archive.testzip()) is not None:  # torch itself compares no checksum
            raise ValueError(f"the checksum of {damaged} differs")
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
    with whole_file(path) as draft, draft.open("wb") as file:
        torch.save(state, file)  # a file of Python's keeps the system's error, such as a full disk
