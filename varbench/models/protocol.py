"""The protocol of a next-scale text-to-image model: everything that methods and sampling use.

Shapes: B images, L visual tokens over all scales, D symbols per token, V values per symbol.
Bit tokens have V = 2 and D bits; index tokens have D = 1 and V = codebook size. Tokens are
``[B, L, D]`` integers, logits ``[B, L, D, V]`` everywhere, so that no loss knows which it is.

The protocol assumes neither cross-attention nor bits nor one text encoder nor a null table.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any, Protocol, runtime_checkable

if TYPE_CHECKING:  # configs import this module, and `varbench list` no torch
    import torch
    from torch import Tensor, nn


class CapabilityError(ValueError):
    """A method needs something that this model does not offer."""


@dataclass(frozen=True)
class Schedule:
    """The token grids, coarse to fine: ``scales[k] = (height, width)`` in tokens."""

    scales: tuple[tuple[int, int], ...]

    def __post_init__(self) -> None:
        if not self.scales or any(h < 1 or w < 1 for h, w in self.scales):
            raise ValueError(f"a schedule needs scales of at least 1x1, got {self.scales}")

    @property
    def lengths(self) -> tuple[int, ...]:
        """Tokens per scale."""
        return tuple(h * w for h, w in self.scales)

    @property
    def total(self) -> int:
        """Tokens over all scales (L)."""
        return sum(self.lengths)

    def slices(self) -> Iterator[slice]:
        """The rows of each scale in an ``[B, L, ...]`` tensor."""
        start = 0
        for length in self.lengths:
            yield slice(start, start + length)
            start += length


class Condition(Protocol):
    """Text features of a batch of prompts, as the model reads them; opaque to methods."""

    def __len__(self) -> int: ...

    def select(self, rows: Sequence[int]) -> Condition:
        """The condition of some of the prompts, in the given order."""
        ...

    def choose(self, other: Any, take: Sequence[bool]) -> Condition:
        """This condition with the rows of ``other`` where ``take`` is True."""
        ...


@dataclass(frozen=True)
class Rollout:
    """One generated token map per image and the visual inputs it implies.

    Attributes:
        tokens: ``[B, L, D]`` uint8 or int64, the sampled symbols of all scales.
        inputs: ``[B, L', C]`` float, what teacher forcing feeds the model (model specific; for
            Infinity L' = L - 1, the running sum of codes resized to each next scale).
        schedule: the grids that tokens and inputs follow.
        finite: ``[B]`` bool, whether all probabilities that tokens were drawn from were finite (a
            guidance may well exclude a value with a logit of -inf); None where none were drawn.
    """

    tokens: Tensor
    inputs: Tensor
    schedule: Schedule
    finite: Tensor | None = None

    def __len__(self) -> int:
        return int(self.tokens.shape[0])

    def select(self, rows: Sequence[int]) -> Rollout:
        """Some of the images, in the given order."""
        import torch

        index = torch.as_tensor(list(rows), device=self.tokens.device)
        finite = None if self.finite is None else self.finite[index]
        return Rollout(self.tokens[index], self.inputs[index], self.schedule, finite)

    @staticmethod
    def joined(parts: Sequence[Rollout]) -> Rollout:
        """The images of all parts, one part after the other."""
        import torch

        tokens, inputs = torch.cat([p.tokens for p in parts]), torch.cat([p.inputs for p in parts])
        finite = [p.finite for p in parts if p.finite is not None]
        return Rollout(tokens, inputs, parts[0].schedule, torch.cat(finite) if finite else None)

    def first_scales(self, count: int) -> Rollout:
        """The first scales alone, where the inputs are those of the scales after the first."""
        schedule = Schedule(self.schedule.scales[:count])
        inputs = self.inputs[:, : schedule.total - schedule.lengths[0]]
        return Rollout(self.tokens[:, : schedule.total], inputs, schedule, self.finite)


class Guidance(Protocol):
    """A rule that combines the logits of several text conditions into those to sample from.

    A sampling-time erasure method is a Guidance; the default is classifier-free guidance. It may
    keep a state over the scales of a group of images: scale 0 starts the next group.
    """

    def branches(self, model: NextScaleModel, condition: Condition) -> list[Condition]:
        """The conditions to run side by side; the first is the prompt itself."""
        ...

    def combine(self, scale: int, logits: list[Tensor]) -> Tensor:
        """Per-branch logits ``[B, l, D, V]`` of one scale -> guided logits of the same shape."""
        ...


@dataclass(frozen=True)
class Sampling:
    """Settings for drawing tokens from guided logits.

    Attributes:
        guidance: weight of the condition against the null condition (1 = no guidance).
        temperature: logits are divided by it.
        top_k: keep the k likeliest values (0 = all, 1 = greedy).
        top_p: keep the smallest set of values that holds this much probability (0 or 1 = all).
    """

    guidance: float = 3.0
    temperature: float = 1.0
    top_k: int = 0
    top_p: float = 0.97


@runtime_checkable
class NextScaleModel(Protocol):
    """A text-to-image model that predicts one whole token map per scale, coarse to fine.

    ``condition`` arguments are this model's own :class:`Condition`, opaque to the caller.
    """

    name: str
    schedule: Schedule
    sampling: Sampling
    batch: int
    """Images that ``generate`` and ``decode`` compute at once at most."""

    @property
    def device(self) -> torch.device:
        """The device of the weights."""
        ...

    def encode(self, prompts: Sequence[str]) -> Condition:
        """Text features of the prompts (the text encoder is frozen and never trained)."""
        ...

    def null(self, like: Any) -> Condition:
        """The unconditional counterpart of each prompt in ``like``."""
        ...

    def guidance(self, weight: float) -> Guidance:
        """The model's own classifier-free guidance at a weight (1 = none)."""
        ...

    def generate(
        self,
        condition: Any,
        keys: Sequence[tuple[str, int]],
        *,
        sampling: Sampling | None = None,
        guidance: Guidance | None = None,
    ) -> Rollout:
        """Sample one image per row; ``keys[i] = (prompt id, image seed)`` decides its bits."""
        ...

    def decode(self, rollout: Rollout) -> Tensor:
        """Images ``[B, 3, H, W]`` float in [0, 1], RGB."""
        ...

    def logits(self, rollout: Rollout, condition: Any) -> Tensor:
        """Teacher-forced logits ``[B, L, D, V]`` on the rollout's inputs, with gradient."""
        ...

    def parameters(self, part: str) -> dict[str, nn.Parameter]:
        """The parameters of a named part (see :data:`PARTS`), by their state-dict names."""
        ...

    def weights(self) -> nn.Module:
        """The module whose state dict edits refer to."""
        ...


PARTS = (
    "cross_attention",
    "self_attention",
    "ffn",
    "text_projection",
    "pooled_text",
    "head",
    "all",
)
"""Parts that methods may train; a model offers those that it has. It may offer parts of parts too,
such as ``cross_attention.kv``, the maps that make keys and values of the text."""


def at_once(count: int, batch: int) -> list[list[int]]:
    """Indices 0 .. count - 1 in groups of ``batch``; the last may be smaller."""
    return [list(range(start, min(start + batch, count))) for start in range(0, count, batch)]


def trainable(model: NextScaleModel, parts: Sequence[str]) -> dict[str, nn.Parameter]:
    """The union of several parts, each parameter once, in state-dict order."""
    chosen = {name for part in parts for name in model.parameters(part)}
    return {name: p for name, p in model.weights().named_parameters() if name in chosen}
