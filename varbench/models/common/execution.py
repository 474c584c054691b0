"""Precision, recomputation and compilation: an optional capability of a model.

Both settings of ``checkpointing`` give the same bits; the other settings change the rounding.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from contextlib import AbstractContextManager, nullcontext
from dataclasses import dataclass
from functools import cache
from typing import ParamSpec, Protocol, TypeVar, runtime_checkable

import torch
from torch import nn

P = ParamSpec("P")
T = TypeVar("T")


@dataclass(frozen=True)
class Execution:
    """Precision, recomputation and compilation.

    Attributes:
        bf16: matrix products and attention of the blocks in bfloat16 (autocast). The residual
            stream, normalisations, modulation, rotary positions, the text path before the
            blocks, and the head stay in float32. The blocks' parameters may then be float32
            or bfloat16, one by one.
        checkpointing: where a gradient is wanted keep only the input of every block, and compute
            the block again on the way back.
        compile: sample through ``torch.compile``, which takes a minute or more at first. Where
            a gradient is wanted nothing is compiled.
        bf16_decoder: convolutions that turn tokens into images in bfloat16 (autocast).
    """

    bf16: bool = False
    checkpointing: bool = False
    compile: bool = False
    bf16_decoder: bool = False


def autocast(device: torch.device, bf16: bool) -> AbstractContextManager[None]:
    """Matrix products in bfloat16, or as they are.

    Without autocast's own cache, so that float32 weights are not kept in both precisions.
    """
    if not bf16:
        return nullcontext()
    return torch.autocast(device.type, torch.bfloat16, cache_enabled=False)


@cache
def compiled(function: Callable[P, T]) -> Callable[P, T]:
    """A function through ``torch.compile``, for all sizes of its tensors; made once."""
    return torch.compile(function, dynamic=True)


@runtime_checkable
class HasExecution(Protocol):
    """A model that lets its :class:`Execution` be chosen."""

    execution: Execution

    def block_parameters(self) -> Mapping[str, nn.Parameter]:
        """Parameters of the blocks by state-dict name; two-dimensional ones are matrices."""
        ...
