"""Conditions as frozen dataclasses of tensors with one row per prompt: choosing among the rows.

A field that is None in one condition must be None in the others that it is mixed with.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import fields, replace
from typing import TYPE_CHECKING, TypeVar

import torch
from torch import Tensor

if TYPE_CHECKING:
    from _typeshed import DataclassInstance

C = TypeVar("C", bound="DataclassInstance")


def _merged(parts: Sequence[C], merge: Callable[..., Tensor]) -> C:
    values = {f.name: [getattr(part, f.name) for part in parts] for f in fields(parts[0])}
    merged = {name: merge(*tensors) for name, tensors in values.items() if tensors[0] is not None}
    return replace(parts[0], **merged)


def select(condition: C, rows: Sequence[int]) -> C:
    """Some of the prompts, in the given order."""
    return _merged([condition], lambda x: x[torch.as_tensor(list(rows), device=x.device)])


def choose(condition: C, other: C, take: Sequence[bool]) -> C:
    """A condition with the rows of another where ``take`` is True."""

    def mixed(rows: Tensor, others: Tensor) -> Tensor:
        mask = torch.as_tensor(list(take), device=rows.device)
        return torch.where(mask.view(-1, *[1] * (rows.ndim - 1)), others, rows)

    return _merged([condition, other], mixed)


def concatenate(parts: Sequence[C]) -> C:
    """The prompts of all parts, one part after the other."""
    return _merged(parts, lambda *values: torch.cat(values))
