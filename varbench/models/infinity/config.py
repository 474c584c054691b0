"""Sizes of an Infinity transformer and its BSQ-VAE: their types, meanings and checks.

Nothing here imports torch, because ``varbench list models`` reads these configs.
"""

from __future__ import annotations

from dataclasses import dataclass

PRECISIONS = ("fp32", "bf16")
TEXT_PRECISIONS = ("fp32", "bf16", "fp16")


@dataclass(frozen=True)
class TransformerConfig:
    """One Infinity transformer.

    Options that no released model uses (own AdaLN per block, SwiGLU, RMS norm in blocks, RoPE
    modes 0 and 1, level embedding in every chunk, guidance on hidden states) are left out.

    Attributes:
        width: embedding width (D); width / heads must divide by 4 for 2-D RoPE.
        depth: number of blocks.
        heads: attention heads of the blocks.
        bits: bits per transformer token (tokenizer bits, times 4 with ``patchify``).
        text_width: width of the text encoder's rows (2048 for flan-t5-xl).
        text_maxlen: rows of the learned null condition, longest prompt in text tokens.
        mlp_ratio: FFN hidden width / D before rounding to a multiple of 256.
        patchify: one transformer token covers 2 x 2 tokenizer positions (8B models).
        max_levels: rows of the level embedding.
    """

    width: int
    depth: int
    heads: int
    bits: int
    text_width: int = 2048
    text_maxlen: int = 512
    mlp_ratio: float = 4.0
    patchify: bool = False
    max_levels: int = 15

    def __post_init__(self) -> None:
        if min(self.width, self.depth, self.heads, self.bits, self.text_maxlen) < 1:
            raise ValueError("width, depth, heads, bits and text_maxlen must be at least 1")
        if self.width % self.heads or (self.width // self.heads) % 4:
            raise ValueError(f"width {self.width} / heads {self.heads} must be a multiple of 4")
        if self.patchify and self.bits % 4:
            raise ValueError(f"with patchify bits must divide by 4, got {self.bits}")
        if self.pool_heads < 1:
            raise ValueError(f"text_width {self.text_width} is too small for one pooling head")
        if self.text_width % self.pool_heads or self.width % self.pool_heads:
            raise ValueError(f"width {self.width} does not divide into {self.pool_heads} heads")

    @property
    def ffn_width(self) -> int:
        """FFN hidden width: a multiple of 256, halves rounded to even as Python does."""
        return max(1, round(self.width * self.mlp_ratio / 256)) * 256

    @property
    def pool_heads(self) -> int:
        """Heads of the attentive text pool; not the blocks' number."""
        return self.text_width // (64 if self.width > 4096 else 128)


@dataclass(frozen=True)
class TokenizerConfig:
    """One BSQ-VAE (convolutional autoencoder without attention, sign quantiser).

    Attributes:
        bits: bits per latent position (d).
        base_width: channels of the first level.
        width_multipliers: channels of each level / base_width; one halving between levels.
        encoder_blocks: residual blocks per encoder level (the decoder has one more).
        pixel_unshuffle: fold n x n pixels into channels before the first convolution and back
            after the last. 1 = released models; the Gallery uses 2, because convolutions at full
            image size dominate on a CPU.
    """

    bits: int
    base_width: int = 128
    width_multipliers: tuple[int, ...] = (1, 2, 4, 4, 4)
    encoder_blocks: int = 2
    pixel_unshuffle: int = 1

    def __post_init__(self) -> None:
        # A YAML list arrives as a list, which would neither hash nor print like the default.
        object.__setattr__(self, "width_multipliers", tuple(self.width_multipliers))

    @property
    def factor(self) -> int:
        """Pixels per latent position and side (f)."""
        return int(self.pixel_unshuffle * 2 ** (len(self.width_multipliers) - 1))
