"""Parameters of an Infinity by arithmetic, without building it or importing torch."""

from __future__ import annotations

from varbench.models.infinity.config import TokenizerConfig, TransformerConfig


def block_parameters(config: TransformerConfig) -> int:
    """Parameters of one transformer block."""
    d, hidden = config.width, config.ffn_width
    self_attention = 3 * d * d + 2 * d + config.heads + d * d + d
    cross_attention = (d * d + d) + (2 * d * d + d) + (d * d + d)
    feed_forward = 2 * d * hidden + hidden + d
    return 6 * d + self_attention + cross_attention + 2 * d + feed_forward


def outer_parameters(config: TransformerConfig) -> int:
    """Parameters outside the blocks: text path, embeddings, shared AdaLN, head."""
    d, c, bits = config.width, config.text_width, config.bits
    null_and_norm = config.text_maxlen * c + c
    pool = d + 2 * d * c + d + d * d + d
    memory = d * c + d + d * d + d
    embeddings = d + config.max_levels * d + bits * d + d
    ada = (6 * d * d + 6 * d) + (2 * d * d + 2 * d)
    head = 2 * bits * d + 2 * bits
    return null_and_norm + pool + memory + embeddings + ada + head


def transformer_parameters(config: TransformerConfig) -> int:
    """Parameters of the transformer."""
    return config.depth * block_parameters(config) + outer_parameters(config)


def tokenizer_parameters(config: TokenizerConfig) -> int:
    """Parameters of the BSQ-VAE (encoder and decoder)."""
    widths = [config.base_width * m for m in config.width_multipliers]
    first, last, pixels = widths[0], widths[-1], 3 * config.pixel_unshuffle**2
    total = _conv(pixels, config.base_width) + _conv(last, config.bits) + 2 * last
    total += _conv(config.bits, last) + _conv(first, pixels) + 2 * first
    total += 4 * _res_block(last, last)
    down, up = [config.base_width, *widths[:-1]], [*widths[1:], last]
    for sources, blocks in ((down, config.encoder_blocks), (up, config.encoder_blocks + 1)):
        for source, width in zip(sources, widths, strict=True):
            total += _res_block(source, width) + (blocks - 1) * _res_block(width, width)
    total += sum(_conv(width, width) for width in [*widths[:-1], *widths[1:]])  # resampling
    return total


def _conv(inp: int, out: int, side: int = 3) -> int:
    return side * side * inp * out + out


def _res_block(inp: int, out: int) -> int:
    shortcut = _conv(inp, out, 1) if inp != out else 0
    return 2 * inp + _conv(inp, out) + 2 * out + _conv(out, out) + shortcut
