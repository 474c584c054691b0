"""Infinity as a :class:`~varbench.models.base.NextScaleModel`; the Gallery is one too."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import asdict

import torch
from torch import Tensor, nn

from varbench.models.base import (
    CapabilityError,
    Guidance,
    Rollout,
    Sampling,
    Schedule,
)
from varbench.models.execution import Execution
from varbench.models.fingerprints import fingerprint_of
from varbench.models.guidance import ClassifierFreeGuidance
from varbench.models.infinity.quantiser import Layout, inputs_from_tokens
from varbench.models.infinity.sampling import sample
from varbench.models.infinity.text import PromptEncoder, TextCondition
from varbench.models.infinity.tokenizer import BSQVAE
from varbench.models.infinity.transformer import InfinityTransformer, TextState

_PART_PATTERNS = {
    "cross_attention": (".ca.",),
    "self_attention": (".sa.",),
    "ffn": (".ffn.",),
    "text_projection": ("text_proj_for_ca.",),
    "pooled_text": ("text_proj_for_sos.", "shared_ada_lin."),
    "head": ("head.", "head_nm."),
}


class InfinityModel:
    """Transformer, BSQ-VAE and T5 encoder behind the protocol of ``models/base.py``.

    Args:
        name: shown in records.
        transformer: weights in place, on the target device.
        tokenizer: the BSQ-VAE that the transformer was trained with.
        text_encoder: the frozen text encoder; None where conditions are made by the caller.
        schedule: transformer grids, coarse to fine.
        sampling: the model's default sampling settings.
        strict: sample each picture alone, so that batch size cannot change a bit (slower).
    """

    def __init__(
        self,
        name: str,
        transformer: InfinityTransformer,
        tokenizer: BSQVAE,
        text_encoder: PromptEncoder | None,
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
        self.layout = Layout(schedule, transformer.config.patchify)

    @property
    def device(self) -> torch.device:
        """Where the transformer's weights live."""
        return self.transformer.pos_start.device

    @property
    def execution(self) -> Execution:
        """Precision and recomputation of the transformer's blocks."""
        return self.transformer.execution

    @execution.setter
    def execution(self, value: Execution) -> None:
        self.transformer.execution = value

    def block_parameters(self) -> dict[str, nn.Parameter]:
        """What ``execution`` is about: the parameters of all blocks."""
        every = self.transformer.named_parameters()
        return {name: p for name, p in every if name.startswith("blocks.")}

    def encode(self, prompts: Sequence[str]) -> TextCondition:
        """Prompts -> text rows; see :class:`PromptEncoder`."""
        if self.text_encoder is None:
            raise CapabilityError(f"{self.name} was built without a text encoder")
        return self.text_encoder.encode(prompts)

    def null(self, like: TextCondition) -> TextCondition:
        """The learned null rows, as many as each prompt has."""
        return TextCondition(like.rows, like.lengths, torch.ones_like(like.is_null))

    def read(self, condition: TextCondition) -> TextState:
        """A condition as the blocks read it, with gradient."""
        rows = condition.rows
        if condition.null is not None:
            learned = self.transformer.cfg_uncond[: rows.shape[1]]
            rows = torch.where(condition.null[:, None, None], learned, rows)
        return self.transformer.read_text(rows, condition.mask)

    @torch.no_grad()
    def generate(
        self,
        condition: TextCondition,
        keys: Sequence[tuple[str, int]],
        *,
        sampling: Sampling | None = None,
        guidance: Guidance | None = None,
    ) -> Rollout:
        """Sample one picture per row of ``condition``; see :class:`NextScaleModel`."""
        if len(keys) != len(condition):
            raise ValueError(f"{len(condition)} prompts but {len(keys)} random keys")
        sampling = sampling or self.sampling
        guidance = guidance or ClassifierFreeGuidance(sampling.guidance)
        groups = [[i] for i in range(len(keys))] if self.strict else [list(range(len(keys)))]
        branches = guidance.branches(self, condition)
        parts = []
        for rows in groups:
            texts = [self.read(branch.select(rows)) for branch in branches]  # type: ignore[arg-type]
            group_keys = [keys[i] for i in rows]
            parts.append(
                sample(self.transformer, texts, self.layout, group_keys, sampling, guidance)[0]
            )
        return Rollout(
            torch.cat([p.tokens for p in parts]),
            torch.cat([p.inputs for p in parts]),
            self.schedule,
        )

    @torch.no_grad()
    def decode(self, rollout: Rollout) -> Tensor:
        """Pictures ``[B, 3, H, W]`` in [0, 1], RGB."""
        codes = inputs_from_tokens(rollout.tokens, self.layout)[1]
        groups = codes.split(1) if self.strict else (codes,)
        return torch.cat([self.tokenizer.decode(c) for c in groups]) / 2 + 0.5

    def logits(self, rollout: Rollout, condition: TextCondition) -> Tensor:
        """Teacher-forced logits ``[B, L, D, 2]``."""
        out: Tensor = self.transformer(rollout.inputs, self.read(condition), self.schedule)
        return out

    def parameters(self, part: str) -> dict[str, nn.Parameter]:
        """Parameters of a named part.

        Raises:
            CapabilityError: unknown part.
        """
        every = dict(self.transformer.named_parameters())
        if part == "all":
            return every
        if part not in _PART_PATTERNS:
            known = ", ".join([*_PART_PATTERNS, "all"])
            raise CapabilityError(f"{self.name} has no part {part!r}; there are {known}")
        patterns = _PART_PATTERNS[part]
        in_blocks = all(p.startswith(".") for p in patterns)
        return {
            name: p
            for name, p in every.items()
            if (
                name.startswith("blocks.") and any(pat in name for pat in patterns)
                if in_blocks
                else name.startswith(patterns)
            )
        }

    def weights(self) -> nn.Module:
        """The transformer: edits are changes of its state dict."""
        return self.transformer

    def fingerprint(self) -> str:
        """SHA-256 over architecture, schedule and all weights (16 hex digits)."""
        described = [
            repr(asdict(self.transformer.config)),
            repr(asdict(self.tokenizer.config)),
            repr(self.schedule.scales),
        ]
        if self.text_encoder is not None:
            described.append(self.text_encoder.fingerprint())
        return fingerprint_of(described, [self.transformer, self.tokenizer])
