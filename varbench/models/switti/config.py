"""Settings of a Switti: sizes of its networks, and the config of a released model.

The values of released models are in ``conf/model/switti*.yaml``. Stated by the public code: every
size, name and rule there and here. Inferred: that all four use the crop condition, RoPE and SwiGLU
(defaults of the code; the byte counts of three of the hub's ``config.json`` fit them), and that the
one tokenizer serves each model at the model's own grids.

Nothing here imports torch, because ``varbench list models`` reads these configs.
"""

from __future__ import annotations

from dataclasses import asdict, dataclass
from typing import Any, ClassVar

from varbench.models.protocol import Schedule
from varbench.models.weights.released import (
    BYTES,
    ReleasedConfig,
    Source,
    text_encoder,
)

WEIGHTS = "model.safetensors"
"""File of the transformer and of the tokenizer in their repositories."""

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


@dataclass(frozen=True)
class WeightFiles:
    """Repositories of a released model; each has a folder of its own in a local folder.

    Attributes:
        transformer, tokenizer: hub ids; both hold :data:`WEIGHTS`.
        first_encoder, second_encoder: hub ids of the CLIP text encoders, in the order of their
            rows.
        transformer_revision, tokenizer_revision, first_revision, second_revision: commit, tag or
            branch of each; a full commit hash pins the files.
        text_parameters: parameters of both text encoders (for the memory estimate).
    """

    transformer: str
    transformer_revision: str
    tokenizer: str
    tokenizer_revision: str
    first_encoder: str
    first_revision: str
    second_encoder: str
    second_revision: str
    text_parameters: int


def _own(repository: str, revision: str) -> Source:
    folder = repository.rpartition("/")[2]
    return Source(repository, revision, folder=folder, files=(WEIGHTS,))


def _encoder(repository: str, revision: str) -> Source:
    optional = ("special_tokens_map.json", "vocab.json", "merges.txt")
    return text_encoder(repository, revision, optional)


@dataclass(frozen=True, kw_only=True)
class SwittiConfig(ReleasedConfig):
    """A released Switti: sizes, grids and files; it computes in float32.

    Attributes:
        transformer, tokenizer: sizes; they must agree on the codes.
        sides: side of every scale's square grid, coarse to fine; one token covers 16 x 16 pixels.
        files: what to load.
    """

    transformer: TransformerConfig
    tokenizer: TokenizerConfig
    sides: tuple[int, ...]
    files: WeightFiles

    precision: ClassVar = "fp32"
    text_precision: ClassVar = "fp32"
    precisions: ClassVar = ("fp32",)

    def __post_init__(self) -> None:
        # A YAML list arrives as a list.
        object.__setattr__(self, "sides", tuple(self.sides))
        sizes, codes = self.transformer, self.tokenizer
        if len(self.sides) != sizes.levels or self.sides[0] != 1 or min(self.sides) < 1:
            raise ValueError(
                f"sides must be {sizes.levels} (transformer.levels), from 1 on, got {self.sides}"
            )
        if (sizes.vocabulary, sizes.code_width) != (codes.vocabulary, codes.code_width):
            raise ValueError(
                f"transformer and tokenizer must agree on vocabulary and code_width, got "
                f"{sizes.vocabulary} x {sizes.code_width} and {codes.vocabulary} x "
                f"{codes.code_width}"
            )

    def sources(self) -> tuple[Source, ...]:
        files = self.files
        return (
            _own(files.transformer, files.transformer_revision),
            _own(files.tokenizer, files.tokenizer_revision),
            _encoder(files.first_encoder, files.first_revision),
            _encoder(files.second_encoder, files.second_revision),
        )

    def described(self) -> dict[str, Any]:
        return {
            "transformer": asdict(self.transformer),
            "tokenizer": asdict(self.tokenizer),
            "sides": list(self.sides),
        }

    def schedule(self) -> Schedule:
        return Schedule(tuple((side, side) for side in self.sides))

    def cache_bytes(self) -> int:
        """Bytes of the keys and values that later scales read, of one guided image."""
        sizes = self.transformer
        if not sizes.causal:
            return 0
        return 2 * 2 * sizes.depth * self.schedule().total * sizes.width * BYTES["fp32"]
