"""Optional capabilities of a model, which only some methods need.

A method asks with :func:`require`; a model that lacks the capability is refused by name before
any work is spent. Shapes: B prompts, T text rows, C width of a text space, L visual tokens,
H heads, W width of the hidden states.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from typing import Any, Protocol, TypeVar, cast, runtime_checkable

from torch import Tensor, nn

from varbench.models.protocol import (
    CapabilityError,
    Condition,
    Guidance,
    NextScaleModel,
    Rollout,
    Sampling,
)


@dataclass(frozen=True)
class TextSpace:
    """Text rows that linear maps of the network read, and which maps those are.

    Attributes:
        rows: ``[B, T, C]``, as the maps read them, without gradient.
        mask: ``[B, T]`` bool, True for real tokens.
        readers: state-dict names of the matrices ``[*, C]`` that multiply these rows.
    """

    rows: Tensor
    mask: Tensor
    readers: tuple[str, ...]


@runtime_checkable
class HasTextSpaces(Protocol):
    """A model whose linear readers of the text can be edited in closed form (UCE, RECE)."""

    def text_spaces(self, condition: Any) -> dict[str, TextSpace]:
        """Spaces by name, e.g. ``memory`` (what the blocks' keys and values read) or ``pooled``."""
        ...

    def text_tokens(self, prompts: Sequence[str]) -> list[list[str]]:
        """The tokens of each prompt, one per valid text row, the end-of-text token included."""
        ...


@dataclass(frozen=True)
class TextAttention:
    """Attention probabilities on text rows, with gradient.

    Attributes:
        cross: per block ``[B, H, L, T]``; rows of padding are 0.
        pooled: of the pooling query ``[B, H, T]``, or None where text is not pooled so.
    """

    cross: list[Tensor]
    pooled: Tensor | None


@dataclass(frozen=True)
class TextKeys:
    """Cross-attention keys of the text.

    Attributes:
        keys: per block ``[B, H, T, W / H]``.
        mask: ``[B, T]`` bool, True for real tokens.
    """

    keys: list[Tensor]
    mask: Tensor


@runtime_checkable
class HasTextAttention(Protocol):
    """A model whose attention on text rows can be trained (FMN) or read (ScaleErasure)."""

    def text_attention(self, rollout: Rollout, condition: Any) -> TextAttention:
        """Attention probabilities under teacher forcing."""
        ...

    def text_keys(self, condition: Any, blocks: Sequence[int]) -> TextKeys:
        """Cross-attention keys of some blocks, without gradient."""
        ...


@runtime_checkable
class HasHidden(Protocol):
    """A model whose last hidden states can be trained (EAR)."""

    def hidden(self, rollout: Rollout, condition: Any) -> Tensor:
        """The last block's output ``[B, L, W]`` under teacher forcing, with gradient."""
        ...


@runtime_checkable
class HasBlocks(Protocol):
    """A model that is a row of blocks, some of which can be chosen by their place."""

    def blocks(self) -> Sequence[Mapping[str, nn.Parameter]]:
        """Parameters of each block by state-dict name, from the first block to the last."""
        ...


@runtime_checkable
class CutsRollouts(Protocol):
    """A model that computes early scales without the late ones."""

    def first_scales(self, rollout: Rollout, count: int) -> Rollout:
        """The first scales of a roll-out, which is not changed.

        On them ``logits``, and ``hidden`` where offered, give what they give for these scales of
        the whole roll-out. They cannot be decoded.
        """
        ...


@runtime_checkable
class CompletesPrefix(Protocol):
    """A model that continues from the first scales of a given image."""

    def complete(
        self,
        condition: Any,
        prefix: Rollout,
        scales: int,
        keys: Sequence[tuple[str, int]],
        *,
        sampling: Sampling | None = None,
        guidance: Guidance | None = None,
    ) -> Rollout:
        """As ``generate``, with the first scales' symbols given instead of drawn.

        The model reads given scales as it would its own, caches and guidance included, and later
        scales are drawn with the random numbers of ``generate``: with none given it is
        ``generate``, with all given the roll-out is that of the prefix, bit by bit.

        Args:
            condition: of the prompts, one per image.
            prefix: one roll-out per image, of which only the first scales are read.
            scales: how many are given, 0 to all.
            keys, sampling, guidance: see :meth:`NextScaleModel.generate`.

        Raises:
            ValueError: the prefix lacks these scales, or has another number of images.
        """
        ...


@runtime_checkable
class HasSoftPrompts(Protocol):
    """A model that reads free vectors before the tokens of a prompt (soft prompts).

    They are token embeddings of the text encoder where it stays in memory, else further rows of
    its features.
    """

    def soft_start(self, count: int, seed: int) -> Tensor:
        """Ordinary vectors ``[count, C]`` of the space, to begin a search from."""
        ...

    def soft_prompts(self, prompts: Sequence[str]) -> Callable[[Tensor], Condition]:
        """A function from vectors ``[m, C]``, the same before every prompt, to conditions.

        The conditions have a gradient to the vectors. Where vectors and prompt exceed the model's
        longest text, the end of the prompt is cut off, but for its last token.
        """
        ...


@runtime_checkable
class SeesQueries(Guidance, Protocol):
    """A guidance that reads cross-attention queries while an image is made.

    A model that offers :class:`HasTextAttention` calls :meth:`see` before every ``combine``.

    Attributes:
        query_blocks: numbers of the blocks whose queries it reads.
    """

    query_blocks: Sequence[int]

    def see(self, scale: int, queries: list[Tensor]) -> None:
        """Queries ``[n B, H, l, W / H]`` of one scale, per block, branch after branch."""
        ...


Offer = TypeVar("Offer")


def require(model: NextScaleModel, capability: type[Offer], method: str) -> Offer:
    """The model as one that offers a capability.

    Raises:
        CapabilityError: it does not.
    """
    if not isinstance(model, capability):
        raise CapabilityError(
            f"{method} needs a model that offers {capability.__name__} "
            f"(varbench/models/capabilities.py); {model.name} does not"
        )
    return cast("Offer", model)
