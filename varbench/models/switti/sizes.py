"""Parameters of a Switti by arithmetic, without building it or importing torch."""

from __future__ import annotations

from varbench.models.switti.config import PHIS, TokenizerConfig, TransformerConfig


def _linear(inp: int, out: int) -> int:
    return inp * out + out


def block_parameters(config: TransformerConfig) -> int:
    """Parameters of one transformer block."""
    c, text = config.width, config.text_width
    self_attention = _linear(c, 3 * c) + _linear(c, c)
    cross_attention = 2 * _linear(c, c) + _linear(text, 2 * c)
    norms = 6 * c + text
    return (
        self_attention
        + cross_attention
        + 3 * c * config.ffn_width
        + norms
        + _linear(c, 6 * c)  # AdaLN
        + c  # scales of the crop condition
    )


def outer_parameters(config: TransformerConfig) -> int:
    """Parameters outside the blocks: embeddings, text pooler, start token, crop, head."""
    c = config.width
    embeddings = _linear(config.code_width, c) + config.levels * c + c
    head = _linear(c, 2 * c) + _linear(c, config.vocabulary)
    return embeddings + _linear(config.pooled_width, c) + _linear(c, c) + head


def transformer_parameters(config: TransformerConfig) -> int:
    """Parameters of the transformer."""
    return config.depth * block_parameters(config) + outer_parameters(config)


def _conv(inp: int, out: int, side: int = 3) -> int:
    return side * side * inp * out + out


def _res_block(inp: int, out: int) -> int:
    shortcut = _conv(inp, out, 1) if inp != out else 0
    return 2 * inp + _conv(inp, out) + 2 * out + _conv(out, out) + shortcut


def tokenizer_parameters(config: TokenizerConfig) -> int:
    """Parameters of the VQ-VAE as far as decoding needs it: codebook and decoder."""
    code, blocks = config.code_width, config.blocks
    widths = [config.base_width * m for m in config.width_multipliers]
    first, last = widths[0], widths[-1]
    attention = 2 * last + _conv(last, 3 * last, 1) + _conv(last, last, 1)
    total = config.vocabulary * code + (PHIS + 1) * _conv(code, code)
    total += _conv(code, last) + 2 * _res_block(last, last) + attention
    for source, width in zip([*widths[1:], last], widths, strict=True):
        total += _res_block(source, width) + (blocks - 1) * _res_block(width, width)
    total += blocks * attention  # behind every block of the coarsest level
    total += sum(_conv(width, width) for width in widths[1:])  # upsampling
    return total + 2 * first + _conv(first, 3)
