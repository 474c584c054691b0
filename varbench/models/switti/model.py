"""Switti as a :class:`~varbench.models.protocol.NextScaleModel`."""

from __future__ import annotations

from collections.abc import Sequence

import torch
from torch import Tensor, nn

from varbench.models.common.batching import generate_in_batches, given_symbols
from varbench.models.common.conditions import concatenate
from varbench.models.common.guidance import ClassifierFreeGuidance
from varbench.models.common.parameter_groups import parameters_of
from varbench.models.protocol import Guidance, Rollout, Sampling, Schedule
from varbench.models.switti.sampling import sample
from varbench.models.switti.text import SwittiCondition
from varbench.models.switti.tokenizer import VQVAE, inputs_from_tokens
from varbench.models.switti.transformer import SwittiTransformer, TextState
from varbench.models.text.encoders import PromptEncoder
from varbench.models.weights.fingerprint import fingerprint_of_model

PARTS = {
    "cross_attention": r"blocks\.\d+\.cross_attn\.",
    "cross_attention.kv": r"blocks\.\d+\.cross_attn\.to_kv\.",
    "self_attention": r"blocks\.\d+\.attn\.",
    "ffn": r"blocks\.\d+\.ffn\.",
    "pooled_text": r"text_pooler\.|blocks\.\d+\.ada_lin\.",
    "head": r"head\.|head_nm\.",
}
"""Part -> beginning of its parameters' names. Text rows reach every block unprojected, so there
is no ``text_projection``."""


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
        batch: images to generate or decode at once; with 1 no batch size can change a bit.
    """

    def __init__(
        self,
        name: str,
        transformer: SwittiTransformer,
        tokenizer: VQVAE,
        text_encoder: PromptEncoder[SwittiCondition],
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
        self._null: SwittiCondition | None = None
        transformer.positions(schedule)

    @property
    def device(self) -> torch.device:
        """Where the transformer's weights live."""
        return self.transformer.pos_start.device

    def encode(self, prompts: Sequence[str]) -> SwittiCondition:
        """Prompts -> text rows and pooled vectors; see :class:`PromptEncoder`."""
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
        """Sample one image per row of ``condition``; see :class:`NextScaleModel`."""
        return generate_in_batches(self, condition, keys, sampling, guidance, self._sample)

    @torch.no_grad()
    def complete(
        self,
        condition: SwittiCondition,
        prefix: Rollout,
        scales: int,
        keys: Sequence[tuple[str, int]],
        *,
        sampling: Sampling | None = None,
        guidance: Guidance | None = None,
    ) -> Rollout:
        """Go on from the first scales of given images; see :class:`CompletesPrefix`."""
        given = given_symbols(self, prefix, scales, len(keys))
        return generate_in_batches(self, condition, keys, sampling, guidance, self._sample, given)

    def _sample(
        self,
        branches: Sequence[SwittiCondition],
        keys: Sequence[tuple[str, int]],
        sampling: Sampling,
        guidance: Guidance,
        given: Tensor | None,
    ) -> Rollout:
        text = self.read(concatenate(branches))
        codebook = self.tokenizer.quantize
        return sample(
            self.transformer, codebook, text, self.schedule, keys, sampling, guidance, given
        )[0]

    @torch.no_grad()
    def decode(self, rollout: Rollout) -> Tensor:
        """Images ``[B, 3, H, W]`` in [0, 1], RGB."""
        codebook = self.tokenizer.quantize
        parts = rollout.tokens.split(self.batch)
        sums = [inputs_from_tokens(tokens, codebook, rollout.schedule)[1] for tokens in parts]
        return torch.cat([self.tokenizer.decode(codes) for codes in sums]) / 2 + 0.5

    def logits(self, rollout: Rollout, condition: SwittiCondition) -> Tensor:
        """Teacher-forced logits ``[B, L, 1, V]``."""
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
        return parameters_of(part, self.transformer, PARTS, self.name)

    def weights(self) -> nn.Module:
        """The transformer: edits are changes of its state dict."""
        return self.transformer

    def fingerprint(self) -> str:
        """SHA-256 over architecture, schedule and all weights (16 hex digits)."""
        return fingerprint_of_model(
            self.transformer, self.tokenizer, self.schedule, self.text_encoder
        )
