"""The wrapper that families share: transformer, image tokenizer and text encoder as one model."""

from __future__ import annotations

from abc import ABC, abstractmethod
from collections.abc import Mapping, Sequence
from typing import Any, ClassVar, Generic, TypeVar

import torch
from torch import Tensor, nn

from varbench.models.common.batching import Keys, generate_in_batches, given_symbols
from varbench.models.common.parameter_groups import parameters_of
from varbench.models.protocol import (
    CapabilityError,
    Condition,
    Guidance,
    Rollout,
    Sampling,
    Schedule,
)
from varbench.models.text.encoders import PromptEncoder
from varbench.models.weights.fingerprint import fingerprint_of_model

C = TypeVar("C", bound=Condition)


class VarModel(ABC, Generic[C]):
    """A :class:`~varbench.models.protocol.NextScaleModel` of a transformer with numbered blocks.

    A family adds how it reads a condition, samples a batch, decodes and guides.

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
    """Part -> beginning of its parameters' names, a regular expression."""

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
        self._check_schedule()

    def _check_schedule(self) -> None:
        """Raise ValueError for a schedule that the transformer cannot follow."""

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

    @abstractmethod
    def _sample(
        self,
        branches: Sequence[C],
        keys: Keys,
        sampling: Sampling,
        guidance: Guidance,
        given: Tensor | None,
    ) -> Rollout:
        """One batch; see :data:`~varbench.models.common.batching.SampleBatch`."""

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
        return generate_in_batches(self, condition, keys, sampling, guidance, self._sample)

    @torch.no_grad()
    def complete(
        self,
        condition: Any,
        prefix: Rollout,
        scales: int,
        keys: Keys,
        *,
        sampling: Sampling | None = None,
        guidance: Guidance | None = None,
    ) -> Rollout:
        """Continue from the first scales of given images; see :class:`CompletesPrefix`."""
        given = given_symbols(self, prefix, scales, len(keys))
        return generate_in_batches(self, condition, keys, sampling, guidance, self._sample, given)

    @abstractmethod
    def decode(self, rollout: Rollout) -> Tensor:
        """Images ``[B, 3, H, W]`` in [0, 1], RGB."""

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
        return parameters_of(part, self.transformer, self.parts, self.name)

    def weights(self) -> nn.Module:
        """The transformer: edits are changes of its state dict."""
        network: nn.Module = self.transformer
        return network

    def fingerprint(self) -> str:
        """SHA-256 over architecture, schedule and all weights (16 hex digits)."""
        return fingerprint_of_model(
            self.transformer, self.tokenizer, self.schedule, self.text_encoder
        )
