"""Checkpoints of a training in progress: one file, replaced whole, gone when the edit is stored."""

from __future__ import annotations

import os
from collections.abc import Mapping
from pathlib import Path

import torch
from torch import nn


def resume(
    path: Path, parameters: Mapping[str, nn.Parameter], optimiser: torch.optim.Optimizer
) -> tuple[int, list[dict[str, float]]]:
    """Go on from a checkpoint, if there is one.

    Returns:
        The number of iterations done, and their log.
    """
    if not path.exists():
        return 0, []
    try:
        state = torch.load(path, map_location="cpu", weights_only=True)
    except Exception:  # a half-written or damaged checkpoint only costs the work it held
        return 0, []
    with torch.no_grad():
        for name, p in parameters.items():
            p.copy_(state["parameters"][name])
    optimiser.load_state_dict(state["optimiser"])
    return int(state["step"]), list(state["log"])


def save(
    path: Path,
    parameters: Mapping[str, nn.Parameter],
    optimiser: torch.optim.Optimizer,
    step: int,
    log: list[dict[str, float]],
) -> None:
    """Write a checkpoint after ``step`` iterations."""
    path.parent.mkdir(parents=True, exist_ok=True)
    temporary = path.with_suffix(f".{os.getpid()}")
    state = {
        "parameters": {name: p.detach() for name, p in parameters.items()},
        "optimiser": optimiser.state_dict(),
        "step": step,
        "log": log,
    }
    torch.save(state, temporary)
    os.replace(temporary, path)
