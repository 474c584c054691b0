"""Which device to compute on."""

from __future__ import annotations

import torch

from varbench.errors import UserError


def pick_device(name: str) -> str:
    """``auto`` -> cuda if there is one, else cpu.

    Raises:
        UserError: the device is not there.
    """
    if name == "auto":
        return "cuda" if torch.cuda.is_available() else "cpu"
    if name.startswith("cuda") and not torch.cuda.is_available():
        raise UserError("no CUDA device here; use --device cpu")
    if name != "cpu" and not name.startswith("cuda"):
        raise UserError(f"unknown device {name!r}; there are auto, cpu, cuda")
    return name
