"""The wrapper that families share: transformer, image tokenizer and text encoder as one model."""

from __future__ import annotations

import re
from abc import ABC, abstractmethod
from collections.abc import Callable, Mapping, Sequence
from contextlib import AbstractContextManager, nullcontext
from typing import Any, ClassVar, Generic, Self, TypeVar

import torch
from torch import Tensor, nn

from varbench.models.common.conditions import concatenate
from varbench.models.common.sampling import CodeSum, inputs_from_tokens, sample_scales
from varbench.models.protocol import (
    CapabilityError,
    Condition,
    Guidance,
    Rollout,
    Sampling,
    Schedule,
    at_once,
)
from varbench.models.text.encoders import PromptEncoder

C = TypeVar("C", bound=Condition)

Keys = Sequence[tuple[str, int]]
"""(prompt id, image seed) per image."""


class VarModel(ABC, Generic[C]):
    """A :class:`~varbench.models.protocol.NextScaleModel` of a transformer with numbered blocks.

    A family adds how it reads a condition and guides, and the sum of its codes.

    Args:
        name: shown in records.
        transformer: weights in place, on the target device; called with inputs, read text,
            schedule and a number of scales it gives teacher-forced logits.
        tokenizer: the image tokenizer that the transformer was trained with.
        text_encoder: the frozen text encoder; None where conditions are made by the caller.
        schedule: transformer grids, coarse to fine.
        sampling: the model's default sampling settings.
        batch: images to generate or decode at once; with 1 no batch size can change a bit.
    """

    parts: ClassVar[Mapping[str, str]]
    """Part -> regular expression for the beginning of its parameters' names."""

    def __init__(
        self,
        name: str,
        transformer: Any,
        tokenizer: Any,
        text_encoder: PromptEncoder[C] | None,
        schedule: Schedule,
        sampling: Sampling,
        batch: int = 50,
    ) -> None:
        self.name = name
        self.transformer = transformer.eval()
        self.tokenizer = tokenizer.eval().requires_grad_(False)
        self.text_encoder = text_encoder
        self.schedule = schedule
        self.sampling = sampling
        self.batch = batch

    @classmethod
    def of(
        cls,
        config: Any,
        transformer: Any,
        tokenizer: Any,
        text_encoder: PromptEncoder[C] | None,
        schedule: Schedule,
    ) -> Self:
        """A model named and set by a model config; in strict mode it makes one image at once."""
        batch = 1 if config.strict else config.batch
        parts = transformer, tokenizer, text_encoder, schedule
        return cls(config.name, *parts, config.sampling, batch)

    @property
    def device(self) -> torch.device:
        """The device of the transformer's weights."""
        device: torch.device = self.transformer.pos_start.device
        return device

    def encode(self, prompts: Sequence[str]) -> C:
        """Prompts -> text features; see :class:`PromptEncoder`.

        Raises:
            CapabilityError: the model has no text encoder.
        """
        return self._encoder().encode(prompts)

    def _encoder(self) -> PromptEncoder[C]:
        if self.text_encoder is None:
            raise CapabilityError(f"{self.name} was built without a text encoder")
        return self.text_encoder

    @abstractmethod
    def null(self, like: Any) -> C:
        """The unconditional counterpart of each prompt in ``like``."""

    @abstractmethod
    def read(self, condition: C) -> Any:
        """A condition as the blocks read it, with gradient."""

    @abstractmethod
    def guidance(self, weight: float) -> Guidance:
        """The family's classifier-free guidance at a weight (1 = none)."""

    def read_branches(self, branches: Sequence[Any]) -> Any:
        """The conditions of all guidance branches as the blocks read them, one after the other."""
        return self.read(concatenate(branches))

    def shown(self, guidance: Guidance) -> AbstractContextManager[Callable[[int], None]]:
        """A function to call at every scale before the guidance combines its logits.

        A family may show the guidance what else it reads.
        """
        return nullcontext(lambda scale: None)

    @abstractmethod
    def code_sum(self) -> CodeSum:
        """A new sum of codes over the model's schedule."""

    @torch.no_grad()
    def generate(
        self,
        condition: Any,
        keys: Keys,
        *,
        sampling: Sampling | None = None,
        guidance: Guidance | None = None,
    ) -> Rollout:
        """Sample one image per row of ``condition``; see :class:`NextScaleModel`."""
        return self.complete(condition, None, 0, keys, sampling=sampling, guidance=guidance)

    @torch.no_grad()
    def complete(
        self,
        condition: Any,
        prefix: Rollout | None,
        scales: int,
        keys: Keys,
        *,
        sampling: Sampling | None = None,
        guidance: Guidance | None = None,
    ) -> Rollout:
        """Continue from the first scales of given images; see :class:`CompletesPrefix`."""
        given = None if prefix is None else self._first_symbols(prefix, scales, len(keys))
        if len(keys) != len(condition):
            raise ValueError(f"{len(condition)} prompts but {len(keys)} random keys")
        sampling = sampling or self.sampling
        guidance = guidance or self.guidance(sampling.guidance)
        branches: list[Any] = guidance.branches(self, condition)
        parts = []
        for rows in at_once(len(keys), self.batch):
            batch, batch_keys = [b.select(rows) for b in branches], [keys[i] for i in rows]
            with self.shown(guidance) as show:
                parts.append(
                    sample_scales(
                        self.transformer,
                        self.read_branches(batch),
                        self.code_sum(),
                        batch_keys,
                        sampling,
                        guidance,
                        branches=len(batch),
                        show=show,
                        given=None if given is None else given[rows],
                    )
                )
        return Rollout.joined(parts)

    def _first_symbols(self, prefix: Rollout, scales: int, images: int) -> Tensor:
        grids, given = self.schedule.scales[:scales], prefix.schedule.scales[:scales]
        if not 0 <= scales <= len(self.schedule.scales) or given != grids:
            raise ValueError(f"{scales} scales of {self.name} are {grids}; the prefix has {given}")
        if len(prefix) != images:
            raise ValueError(f"{images} images to make from a prefix of {len(prefix)}")
        return prefix.tokens[:, : sum(self.schedule.lengths[:scales])]

    @torch.no_grad()
    def decode(self, rollout: Rollout) -> Tensor:
        """Images ``[B, 3, H, W]`` in [0, 1], RGB; at most ``decode_batch`` at a time."""
        parts = [
            self.tokenizer.decode(inputs_from_tokens(tokens, self.code_sum())[1])
            for tokens in rollout.tokens.split(self.decode_batch)
        ]
        return torch.cat(parts).float() / 2 + 0.5

    @property
    def decode_batch(self) -> int:
        """Images to decode at once."""
        return self.batch

    def logits(self, rollout: Rollout, condition: C) -> Tensor:
        """Teacher-forced logits ``[B, L, D, V]``, with gradient."""
        scales = len(rollout.schedule.scales)
        out: Tensor = self.transformer(rollout.inputs, self.read(condition), self.schedule, scales)
        return out

    def first_scales(self, rollout: Rollout, count: int) -> Rollout:
        """The first scales of a roll-out; see :class:`CutsRollouts`."""
        return rollout.first_scales(count)

    def blocks(self) -> list[dict[str, nn.Parameter]]:
        """Parameters of each block by state-dict name."""
        numbered = enumerate(self.transformer.blocks)
        return [{f"blocks.{i}.{n}": p for n, p in b.named_parameters()} for i, b in numbered]

    def parameters(self, part: str) -> dict[str, nn.Parameter]:
        """Parameters of a named part.

        Raises:
            CapabilityError: unknown part.
        """
        known = {**self.parts, "all": ""}
        if part not in known:
            names = ", ".join(known)
            raise CapabilityError(f"{self.name} has no part {part!r}; choose one of: {names}")
        named = self.transformer.named_parameters()
        return {name: p for name, p in named if re.match(known[part], name)}

    def weights(self) -> nn.Module:
        """The transformer: edits are changes of its state dict."""
        network: nn.Module = self.transformer
        return network
