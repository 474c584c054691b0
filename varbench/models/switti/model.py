"""Switti as a :class:`~varbench.models.base.NextScaleModel`."""

from __future__ import annotations

import re
from collections.abc import Sequence
from dataclasses import asdict
from typing import Protocol

import torch
from torch import Tensor, nn

from varbench.models.base import CapabilityError, Guidance, Rollout, Sampling, Schedule
from varbench.models.fingerprints import fingerprint_of
from varbench.models.guidance import ClassifierFreeGuidance
from varbench.models.switti.sampling import sample
from varbench.models.switti.text import SwittiCondition
from varbench.models.switti.tokenizer import VQVAE, inputs_from_tokens
from varbench.models.switti.transformer import SwittiTransformer, TextState

PARTS = {
    "cross_attention": r"blocks\.\d+\.cross_attn\.",
    "self_attention": r"blocks\.\d+\.attn\.",
    "ffn": r"blocks\.\d+\.ffn\.",
    "pooled_text": r"text_pooler\.|blocks\.\d+\.ada_lin\.",
    "head": r"head\.|head_nm\.",
    "all": "",
}
"""Part -> beginning of its parameters' names. Text rows reach every block unprojected, so there
is no ``text_projection``."""


class Encoder(Protocol):
    """What the model asks of its text encoders."""

    def encode(self, prompts: Sequence[str]) -> SwittiCondition:
        """Prompts -> conditions, independent of each other."""
        ...


class SwittiModel:
    """Transformer, VQ-VAE and text encoders behind the protocol of ``models/base.py``.

    Args:
        name: shown in records.
        transformer: weights in place, on the target device.
        tokenizer: the VQ-VAE that the transformer was trained with.
        text_encoder: the frozen text encoders.
        schedule: grids, coarse to fine.
        sampling: the model's default sampling settings. ``guidance`` is the weight at the last
            scale: it grows linearly from 1 at the first (the original's ``cfg`` plus 1).
        strict: sample each picture alone, so that batch size cannot change a bit (slower).
    """

    def __init__(
        self,
        name: str,
        transformer: SwittiTransformer,
        tokenizer: VQVAE,
        text_encoder: Encoder,
        schedule: Schedule,
        sampling: Sampling,
        strict: bool = False,
    ) -> None:
        self.name = name
        self.transformer = transformer.eval()
        self.tokenizer = tokenizer.eval().requires_grad_(False)
        self.text_encoder = text_encoder
        self.schedule = schedule
        self.sampling = sampling
        self.strict = strict
        self._null: SwittiCondition | None = None
        transformer.positions(schedule)

    @property
    def device(self) -> torch.device:
        """Where the transformer's weights live."""
        return self.transformer.pos_start.device

    def encode(self, prompts: Sequence[str]) -> SwittiCondition:
        """Prompts -> text rows and pooled vectors; see :class:`CLIPPair`."""
        return self.text_encoder.encode(prompts)

    def null(self, like: SwittiCondition) -> SwittiCondition:
        """The empty prompt, as often as ``like`` has prompts; encoded once."""
        if self._null is None:
            self._null = self.encode([""])
        return self._null.select([0] * len(like))

    def read(self, condition: SwittiCondition) -> TextState:
        """A condition as the blocks read it, with gradient."""
        return self.transformer.read_text(condition.rows, condition.mask, condition.pooled)

    def guidance(self, weight: float) -> ClassifierFreeGuidance:
        """Guidance that grows linearly over the scales, from 1 to ``weight``."""
        last = len(self.schedule.scales) - 1
        if weight == 1 or not last:
            return ClassifierFreeGuidance(1.0)
        return ClassifierFreeGuidance([1 + (weight - 1) * k / last for k in range(last + 1)])

    @torch.no_grad()
    def generate(
        self,
        condition: SwittiCondition,
        keys: Sequence[tuple[str, int]],
        *,
        sampling: Sampling | None = None,
        guidance: Guidance | None = None,
    ) -> Rollout:
        """Sample one picture per row of ``condition``; see :class:`NextScaleModel`."""
        if len(keys) != len(condition):
            raise ValueError(f"{len(condition)} prompts but {len(keys)} random keys")
        sampling = sampling or self.sampling
        guidance = guidance or self.guidance(sampling.guidance)
        groups = [[i] for i in range(len(keys))] if self.strict else [list(range(len(keys)))]
        branches = guidance.branches(self, condition)
        parts = []
        for rows in groups:
            texts = [branch.select(rows) for branch in branches]
            text = self.read(SwittiCondition.concatenate(texts))  # type: ignore[arg-type]
            parts.append(
                sample(
                    self.transformer,
                    self.tokenizer.quantize,
                    text,
                    self.schedule,
                    [keys[i] for i in rows],
                    sampling,
                    guidance,
                )[0]
            )
        tokens = torch.cat([p.tokens for p in parts])
        return Rollout(tokens, torch.cat([p.inputs for p in parts]), self.schedule)

    @torch.no_grad()
    def decode(self, rollout: Rollout) -> Tensor:
        """Pictures ``[B, 3, H, W]`` in [0, 1], RGB."""
        codebook = self.tokenizer.quantize
        groups = rollout.tokens.split(1) if self.strict else (rollout.tokens,)
        sums = [inputs_from_tokens(tokens, codebook, rollout.schedule)[1] for tokens in groups]
        return torch.cat([self.tokenizer.decode(codes) for codes in sums]) / 2 + 0.5

    def logits(self, rollout: Rollout, condition: SwittiCondition) -> Tensor:
        """Teacher-forced logits ``[B, L, 1, V]``."""
        out: Tensor = self.transformer(rollout.inputs, self.read(condition), rollout.schedule)
        return out

    def parameters(self, part: str) -> dict[str, nn.Parameter]:
        """Parameters of a named part.

        Raises:
            CapabilityError: unknown part.
        """
        if part not in PARTS:
            raise CapabilityError(f"{self.name} has no part {part!r}; there are {', '.join(PARTS)}")
        every = self.transformer.named_parameters()
        return {name: p for name, p in every if re.match(PARTS[part], name)}

    def weights(self) -> nn.Module:
        """The transformer: edits are changes of its state dict."""
        return self.transformer

    def fingerprint(self) -> str:
        """SHA-256 over architecture, schedule and all weights (16 hex digits)."""
        modules: list[nn.Module] = [self.transformer, self.tokenizer]
        if isinstance(self.text_encoder, nn.Module):
            modules.append(self.text_encoder)
        sizes = [asdict(self.transformer.config), asdict(self.tokenizer.config)]
        return fingerprint_of([*map(repr, sizes), repr(self.schedule.scales)], modules)
