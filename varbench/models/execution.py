"""How a model computes its blocks: an optional capability, set by whoever runs or trains it.

The results of the two settings of ``checkpointing`` are the same bits; ``bf16`` rounds.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Protocol, runtime_checkable

from torch import nn


@dataclass(frozen=True)
class Execution:
    """Precision and recomputation of a model's blocks.

    Attributes:
        bf16: matrix products and attention of the blocks in bfloat16 (autocast). The residual
            stream, normalisations, modulation, rotary positions, whatever reads the text before
            the blocks, and the head stay in float32. The blocks' parameters may then be float32
            or bfloat16, one by one.
        checkpointing: where a gradient is wanted keep only the input of every block, and compute
            the block again on the way back.
    """

    bf16: bool = False
    checkpointing: bool = False


@runtime_checkable
class HasExecution(Protocol):
    """A model that lets its :class:`Execution` be chosen."""

    execution: Execution

    def block_parameters(self) -> Mapping[str, nn.Parameter]:
        """What only the blocks read, by state-dict name; two-dimensional ones are matrices."""
        ...
