"""Conditions as frozen dataclasses of tensors with one row per prompt: choosing among the rows."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass, fields, replace
from typing import TYPE_CHECKING, Self, TypeVar

import torch
from torch import Tensor

if TYPE_CHECKING:
    from _typeshed import DataclassInstance

C = TypeVar("C", bound="DataclassInstance")


def _merged(parts: Sequence[C], merge: Callable[..., Tensor]) -> C:
    values = {f.name: [getattr(part, f.name) for part in parts] for f in fields(parts[0])}
    merged = {name: merge(*tensors) for name, tensors in values.items() if tensors[0] is not None}
    return replace(parts[0], **merged)


def concatenate(parts: Sequence[C]) -> C:
    """The prompts of all parts, one part after the other."""
    return _merged(parts, lambda *values: torch.cat(values))


@dataclass(frozen=True)
class PromptRows:
    """Base of the families' conditions: features of a batch of prompts.

    A field that is None in one condition must be None in the others that it is mixed with.

    Attributes:
        rows: ``[B, T, C]``, T text rows per prompt.
    """

    rows: Tensor

    def __len__(self) -> int:
        return len(self.rows)

    def select(self, rows: Sequence[int]) -> Self:
        """Some of the prompts, in the given order."""
        return _merged([self], lambda x: x[torch.as_tensor(list(rows), device=x.device)])

    def choose(self, other: Self, take: Sequence[bool]) -> Self:
        """This condition with the rows of ``other`` where ``take`` is True."""

        def mixed(rows: Tensor, others: Tensor) -> Tensor:
            mask = torch.as_tensor(list(take), device=rows.device)
            return torch.where(mask.view(-1, *[1] * (rows.ndim - 1)), others, rows)

        return _merged([self, other], mixed)
