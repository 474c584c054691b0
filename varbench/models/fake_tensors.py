"""Models without memory: their tensors have shapes, dtypes and a device, but no bytes."""

from __future__ import annotations

import contextlib
import unittest.mock
from collections.abc import Iterator
from typing import Any

import torch
from torch import Tensor
from torch._subclasses.fake_tensor import FakeTensorMode
from torch.utils._python_dispatch import TorchDispatchMode


@contextlib.contextmanager
def fake_tensors() -> Iterator[None]:
    """Everything made and computed inside is fake.

    Unlike tensors on the meta device they have a device of their own (a CPU), so that autocast
    and the choice of attention kernels work as they do on real ones.
    """
    # `Module.to` swaps fake parameters for their casts, and fails because a fake mode refers to
    # them weakly; setting `.data`, as it does for real ones, works. peft calls it.
    swap = unittest.mock.patch("torch.utils.swap_tensors", _set_data)
    with FakeTensorMode(), swap:
        yield


class Answers(TorchDispatchMode):
    """Inside, every question about a fake tensor's value (``item``, ``tolist``) has one answer.

    Such as: how long is each prompt? The answer stands in for all of them.
    """

    def __init__(self, answer: float) -> None:
        super().__init__()  # type: ignore[no-untyped-call]
        self.answer = answer

    def __torch_dispatch__(
        self, func: Any, types: Any, args: tuple[Any, ...] = (), kwargs: Any = None
    ) -> Any:
        if func is torch.ops.aten._local_scalar_dense.default:
            return self.answer
        return func(*args, **(kwargs or {}))


def _set_data(old: Tensor, new: Tensor) -> None:
    old.data = new.data
