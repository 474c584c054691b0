"""Access to the inside of an Infinity: text spaces, attention on text, hidden states, queries.

Everything is read through forward hooks or recomputed from the weights, so that sampling and
training pay nothing for it.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from typing import cast

from torch import Tensor, nn

from varbench.models.capabilities import SeesQueries
from varbench.models.common.layers import split_heads
from varbench.models.infinity.attention import CrossAttention, TextPool
from varbench.models.infinity.transformer import Block, InfinityTransformer
from varbench.models.protocol import Guidance


@contextmanager
def outputs(modules: Sequence[nn.Module]) -> Iterator[list[Tensor]]:
    """Collect the outputs of modules while the context is open, call after call."""
    collected: list[Tensor] = []

    def keep(_: nn.Module, __: object, out: Tensor) -> None:
        collected.append(out)

    hooks = [m.register_forward_hook(keep) for m in modules]
    try:
        yield collected
    finally:
        for hook in hooks:
            hook.remove()


def cross_attention(transformer: InfinityTransformer, block: int) -> CrossAttention:
    """The cross-attention of a block."""
    return cast("Block", transformer.blocks[block]).ca


def text_keys(
    transformer: InfinityTransformer, memory_BTD: Tensor, blocks: Sequence[int]
) -> list[Tensor]:
    """Cross-attention keys ``[B, H, T, C]`` of some blocks."""
    readers = [cross_attention(transformer, number) for number in blocks]
    return [reader.read(memory_BTD.to(reader.mat_kv.weight.dtype))[0] for reader in readers]


def probabilities(queries_BHLC: Tensor, keys_BHTC: Tensor, mask_BT: Tensor) -> Tensor:
    """Softmax attention ``[B, H, L, T]`` in float32; rows of padding get 0."""
    scores = queries_BHLC.float() @ keys_BHTC.float().transpose(-1, -2)
    scores = scores / math.sqrt(queries_BHLC.shape[-1])
    return scores.masked_fill(~mask_BT[:, None, None], -math.inf).softmax(dim=-1)


def pool_attention(transformer: InfinityTransformer, rows_BTC: Tensor, mask_BT: Tensor) -> Tensor:
    """Attention ``[B, H, T]`` of the learned pooling query."""
    pool = cast("TextPool", transformer.text_proj_for_sos["ca"])
    return probabilities(pool.queries(len(rows_BTC)), pool.read(rows_BTC)[0], mask_BT)[:, :, 0]


@contextmanager
def show_queries(
    transformer: InfinityTransformer, guidance: Guidance
) -> Iterator[Callable[[int], None]]:
    """A function of the scale that shows a guidance the queries of its blocks, if it sees any."""
    if not isinstance(guidance, SeesQueries):
        yield lambda scale: None
        return
    heads = transformer.config.heads
    with outputs([cross_attention(transformer, i).mat_q for i in guidance.query_blocks]) as queries:

        def show(scale: int) -> None:
            guidance.see(scale, [split_heads(q, heads) for q in queries])
            queries.clear()

        yield show
