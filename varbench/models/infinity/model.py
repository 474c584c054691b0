"""Infinity as a :class:`~varbench.models.protocol.NextScaleModel`; the Gallery is one too."""

from __future__ import annotations

import math
from collections.abc import Callable, Sequence
from contextlib import AbstractContextManager
from functools import cached_property
from typing import ClassVar

import torch
from torch import Tensor, nn

from varbench.models.capabilities import TextAttention, TextKeys, TextSpace
from varbench.models.common.conditions import concatenate
from varbench.models.common.execution import Execution, autocast
from varbench.models.common.layers import split_heads
from varbench.models.common.sampling import ClassifierFreeGuidance
from varbench.models.common.var_model import VarModel
from varbench.models.infinity.attention import TextState
from varbench.models.infinity.hooks import (
    cross_attention,
    outputs,
    pool_attention,
    probabilities,
    show_queries,
    text_keys,
)
from varbench.models.infinity.quantiser import BinaryCodeSum, Layout
from varbench.models.infinity.text import TextCondition, TextEncoder
from varbench.models.infinity.tokenizer import BSQVAE
from varbench.models.infinity.transformer import InfinityTransformer
from varbench.models.protocol import Guidance, Rollout

DECODED_PIXELS = 256 * 256
"""Pixels to decode at once, but at least one image, so that memory does not grow with the batch.
More at once are not faster: one image of this size keeps a device busy."""


class InfinityModel(VarModel[TextCondition]):
    """Transformer, BSQ-VAE and T5 encoder; arguments as for :class:`VarModel`."""

    transformer: InfinityTransformer
    tokenizer: BSQVAE
    parts: ClassVar = {
        "cross_attention": r"blocks\.\d+\.ca\.",
        "cross_attention.kv": r"blocks\.\d+\.ca\.(mat_kv\.|v_bias$)",
        "self_attention": r"blocks\.\d+\.sa\.",
        "ffn": r"blocks\.\d+\.ffn\.",
        "text_projection": r"text_proj_for_ca\.",
        "pooled_text": r"text_proj_for_sos\.|shared_ada_lin\.",
        "head": r"head\.|head_nm\.",
    }

    @cached_property
    def layout(self) -> Layout:
        """Positions of the transformer's tokens on the tokenizer's grids."""
        return Layout(self.schedule, self.transformer.config.patchify)

    @property
    def execution(self) -> Execution:
        """Precision, recomputation and compilation."""
        return self.transformer.execution

    @execution.setter
    def execution(self, value: Execution) -> None:
        self.transformer.execution = value

    def block_parameters(self) -> dict[str, nn.Parameter]:
        """Parameters of all blocks, which ``execution`` applies to."""
        every = self.transformer.named_parameters()
        return {name: p for name, p in every if name.startswith("blocks.")}

    def null(self, like: TextCondition) -> TextCondition:
        """The learned null rows, as many as each prompt has."""
        return TextCondition(like.rows, like.lengths, torch.ones_like(like.is_null))

    def read(self, condition: TextCondition) -> TextState:
        """A condition as the blocks read it, with gradient."""
        return self.transformer.read_text(self._text_rows(condition), condition.mask)

    def _text_rows(self, condition: TextCondition) -> Tensor:
        """The encoder's rows, or the learned ones where a prompt is null."""
        if condition.null is None:
            return condition.rows
        learned = self.transformer.cfg_uncond[: condition.rows.shape[1]]
        return torch.where(condition.null[:, None, None], learned, condition.rows)

    def _normed_rows(self, condition: TextCondition) -> Tensor:
        return self.transformer.text_norm(self._text_rows(condition))  # type: ignore[no-any-return]

    def guidance(self, weight: float) -> Guidance:
        """The same weight at every scale."""
        return ClassifierFreeGuidance(weight)

    def read_branches(self, branches: Sequence[TextCondition]) -> TextState:
        return concatenate([self.read(branch) for branch in branches])

    def shown(self, guidance: Guidance) -> AbstractContextManager[Callable[[int], None]]:
        """See :class:`SeesQueries`."""
        return show_queries(self.transformer, guidance)

    def code_sum(self) -> BinaryCodeSum:
        return BinaryCodeSum(self.layout, self.transformer.config.bits)

    def decode(self, rollout: Rollout) -> Tensor:
        with autocast(self.device, self.execution.bf16_decoder):
            return super().decode(rollout)

    @property
    def decode_batch(self) -> int:
        """As many images as :data:`DECODED_PIXELS` has room for."""
        pixels = math.prod(self.layout.grids[-1]) * self.tokenizer.config.factor**2
        return max(1, min(self.batch, DECODED_PIXELS // pixels))

    def hidden(self, rollout: Rollout, condition: TextCondition) -> Tensor:
        """The last block's output ``[B, L, D]`` under teacher forcing."""
        with outputs([self.transformer.blocks[-1]]) as states:
            self.logits(rollout, condition)
        return states[-1]

    def text_attention(self, rollout: Rollout, condition: TextCondition) -> TextAttention:
        """Attention of all blocks and of the pooling query on the prompt's rows."""
        blocks = range(self.transformer.config.depth)
        heads = self.transformer.config.heads
        with outputs([cross_attention(self.transformer, i).mat_q for i in blocks]) as queries:
            self.logits(rollout, condition)
        text = self.read(condition)
        keys = text_keys(self.transformer, text.memory_BTD, blocks)
        cross = [
            probabilities(split_heads(q, heads), k, text.mask_BT)
            for q, k in zip(queries, keys, strict=True)
        ]
        return TextAttention(
            cross, pool_attention(self.transformer, self._normed_rows(condition), condition.mask)
        )

    @torch.no_grad()
    def text_keys(self, condition: TextCondition, blocks: Sequence[int]) -> TextKeys:
        """Cross-attention keys of some blocks; see :class:`HasTextAttention`."""
        keys = text_keys(self.transformer, self.read(condition).memory_BTD, blocks)
        return TextKeys(keys, condition.mask)

    @torch.no_grad()
    def text_spaces(self, condition: TextCondition) -> dict[str, TextSpace]:
        """``memory``: read by the keys and values of all blocks. ``rows``: the normed encoder
        rows, read by the projection to memory and by the pool. ``pool``: the same rows, with the
        pool as their only reader.
        """
        rows, mask = self._normed_rows(condition), condition.mask
        memory = self.read(condition).memory_BTD
        blocks = range(self.transformer.config.depth)
        pool = "text_proj_for_sos.ca.mat_kv.weight"
        return {
            "memory": TextSpace(
                memory, mask, tuple(f"blocks.{i}.ca.mat_kv.weight" for i in blocks)
            ),
            "rows": TextSpace(rows, mask, ("text_proj_for_ca.0.weight", pool)),
            "pool": TextSpace(rows, mask, (pool,)),
        }

    def soft_start(self, count: int, seed: int) -> Tensor:
        """See :class:`HasSoftPrompts`; embeddings of tokens, or else the learned null rows."""
        if isinstance(self.text_encoder, TextEncoder):
            return self.text_encoder.soft_start(count, seed)
        return self.transformer.cfg_uncond[:count].detach().float().clone()

    def soft_prompts(self, prompts: Sequence[str]) -> Callable[[Tensor], TextCondition]:
        """See :class:`HasSoftPrompts`. The vectors are read by the text encoder if it stays in
        memory; where its features come from the store, the vectors stand next to these.
        """
        if isinstance(self.text_encoder, TextEncoder):
            return self.text_encoder.soft_prompts(prompts)
        return self.encode(prompts).behind

    def text_tokens(self, prompts: Sequence[str]) -> list[list[str]]:
        """The text encoder's tokens of each prompt, ``</s>`` included."""
        return [self._encoder().tokens(prompt) for prompt in prompts]
