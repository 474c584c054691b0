"""Conditions as frozen dataclasses of tensors with one row per prompt: padding and choosing."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass, fields, replace
from typing import TYPE_CHECKING, Any, Self, TypeVar

import torch
from torch import Tensor
from torch.nn.functional import pad

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

    Padding to one fixed length keeps tensor shapes, and so the bits of every image,
    independent of the other prompts in a block; padded rows are masked out of every softmax.
    A field that is None in one condition must be None in the others that it is mixed with.

    Attributes:
        rows: ``[B, T, C]`` float32, text rows of each prompt; zero beyond its length.
        lengths: ``[B]`` int64, true number of rows (special tokens included).
    """

    rows: Tensor
    lengths: Tensor

    @classmethod
    def padded(cls, parts: Sequence[Tensor], pad_to: int, **others: Any) -> Self:
        """From the rows ``[n, C]`` of each prompt, and the other fields.

        Raises:
            ValueError: a prompt has more than ``pad_to`` rows.
        """
        lengths = [len(part) for part in parts]
        if max(lengths) > pad_to:
            raise ValueError(f"prompts of {lengths} rows do not fit {pad_to}")
        rows = torch.stack([pad(part.float(), (0, 0, 0, pad_to - len(part))) for part in parts])
        return cls(rows, torch.tensor(lengths, device=rows.device), **others)

    @property
    def mask(self) -> Tensor:
        """``[B, T]`` bool, True for real rows."""
        steps = torch.arange(self.rows.shape[1], device=self.lengths.device)
        return steps[None] < self.lengths[:, None]

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
