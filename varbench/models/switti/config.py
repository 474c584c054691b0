"""Sizes of a Switti transformer and its VQ-VAE: their types, meanings and checks.

Nothing here imports torch, because ``varbench list models`` reads these configs.
"""

from __future__ import annotations

from dataclasses import dataclass

PHIS = 4
"""Convolutions of the codebook that all scales share."""


@dataclass(frozen=True)
class TransformerConfig:
    """One Switti transformer.

    Options that no released model uses (absolute positions, GELU in the FFN, no crop condition)
    are left out.

    Attributes:
        width: embedding width (C); width / heads must divide by 4 for 2-D RoPE.
        depth: number of blocks.
        heads: attention heads.
        levels: number of scales, rows of the level embedding.
        causal: False = a scale sees itself only (Switti), True = and all earlier ones (Switti AR).
        vocabulary: size of the codebook (V).
        code_width: width of a code.
        text_width: width of a text row, both encoders' side by side (768 + 1280).
        pooled_width: width of the second encoder's pooled vector.
    """

    width: int
    depth: int
    heads: int
    levels: int
    causal: bool = False
    vocabulary: int = 4096
    code_width: int = 32
    text_width: int = 2048
    pooled_width: int = 1280

    def __post_init__(self) -> None:
        if self.width % self.heads or (self.width // self.heads) % 4:
            raise ValueError(f"width {self.width} / heads {self.heads} must be a multiple of 4")
        if self.width % 8:
            raise ValueError(f"width {self.width} must divide by 8 for the crop condition")

    @property
    def ffn_width(self) -> int:
        """Hidden width of the gated FFN."""
        return int(self.width * (8 / 3))


@dataclass(frozen=True)
class TokenizerConfig:
    """One residual multi-scale VQ-VAE, as far as decoding needs it.

    Attributes:
        vocabulary: number of codes.
        code_width: width of a code.
        base_width: channels of the level with the most pixels.
        width_multipliers: channels of each level / base_width; one doubling between levels.
        blocks: residual blocks per decoder level.
    """

    vocabulary: int = 4096
    code_width: int = 32
    base_width: int = 160
    width_multipliers: tuple[int, ...] = (1, 1, 2, 2, 4)
    blocks: int = 3

    def __post_init__(self) -> None:
        # A YAML list arrives as a list, which would neither hash nor print like the default.
        object.__setattr__(self, "width_multipliers", tuple(self.width_multipliers))
