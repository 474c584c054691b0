"""Names of compute devices, and the number of threads."""

from __future__ import annotations

import re
from collections.abc import Iterator
from contextlib import contextmanager

from varbench.errors import UserError


def check_device(name: str) -> None:
    """Refuse what is no name of a device, without importing torch.

    Raises:
        UserError: lists the names.
    """
    if not re.fullmatch(r"auto|cpu|cuda(:\d+)?", name):
        raise UserError(f"unknown device {name!r}; choose one of: auto, cpu, cuda, cuda:N")


def pick_device(name: str) -> str:
    """The device to compute on: ``auto`` is cuda if there is one, else cpu.

    Raises:
        UserError: not the name of a device, or this machine does not have it.
    """
    import torch

    check_device(name)
    if name == "auto":
        return "cuda" if torch.cuda.is_available() else "cpu"
    if name == "cpu":
        return name
    if not torch.cuda.is_available():
        raise UserError("no CUDA device here; use --device cpu")
    _, _, index = name.partition(":")
    if index and int(index) >= torch.cuda.device_count():
        raise UserError(f"no device {name!r}: there are {torch.cuda.device_count()} CUDA devices")
    return name


@contextmanager
def threads(count: int) -> Iterator[None]:
    """So many threads of torch inside the context."""
    import torch

    before = torch.get_num_threads()
    torch.set_num_threads(count)
    try:
        yield
    finally:
        torch.set_num_threads(before)
