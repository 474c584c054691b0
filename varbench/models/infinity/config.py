"""Settings of an Infinity: sizes of its networks, and the config of a released model.

The values of released models are in ``conf/model/infinity-*.yaml``. Nothing here imports torch,
because ``varbench list models`` reads these configs.
"""

from __future__ import annotations

from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any, ClassVar

from varbench.errors import check_choice, check_least
from varbench.models.infinity.schedules import PIXEL_BUDGETS, schedule_for
from varbench.models.protocol import Schedule
from varbench.models.weights.released import (
    BYTES,
    INDEX,
    ReleasedConfig,
    Source,
    text_encoder,
)


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
        check_least(1, width=self.width, depth=self.depth, heads=self.heads, bits=self.bits)
        check_least(1, text_maxlen=self.text_maxlen)
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


@dataclass(frozen=True)
class WeightFiles:
    """Names of a released model's files; ``weights/locate.py`` finds them.

    Attributes:
        repository: hub id of transformer and tokenizer.
        revision: commit, tag or branch of it; a full commit hash pins the files.
        transformer: path in it: a ``.pth``, a ``.safetensors``, or the ``.index.json`` of shards.
        tokenizer: path of the BSQ-VAE in it.
        text_encoder: hub id of the T5 encoder.
        text_revision: commit, tag or branch of that one.
        text_parameters: parameters of the T5 encoder (for the memory estimate).
    """

    repository: str
    revision: str
    transformer: str
    tokenizer: str
    text_encoder: str
    text_revision: str
    text_parameters: int


@dataclass(frozen=True, kw_only=True)
class InfinityConfig(ReleasedConfig):
    """A released Infinity: sizes, files, image size and precision.

    Attributes:
        transformer, tokenizer: sizes; they must agree on the number of bits.
        chunks: groups that the checkpoint numbers its blocks in.
        files: what to load.
        pn: pixel budget, a key of ``schedules.PIXEL_BUDGETS``.
        aspect_ratio: height / width; the nearest of Infinity's 15 templates is used.
        precision: ``fp32``, or ``bf16`` for the blocks' weights (all else stays fp32), which is
            how the released models are run.
        text_precision: weights of the text encoder: ``fp16`` (official), ``bf16`` or ``fp32``.
    """

    transformer: TransformerConfig
    tokenizer: TokenizerConfig
    chunks: int
    files: WeightFiles
    pn: str = "1M"
    aspect_ratio: float = 1.0
    precision: str = "bf16"
    text_precision: str = "fp16"

    precisions: ClassVar = ("fp32", "bf16")
    """Of the blocks."""

    def __post_init__(self) -> None:
        expected = self.tokenizer.bits * (4 if self.transformer.patchify else 1)
        if self.transformer.bits != expected:
            raise ValueError(
                f"transformer.bits must be {expected} with a tokenizer of {self.tokenizer.bits} "
                f"bits and patchify={self.transformer.patchify}, got {self.transformer.bits}"
            )
        if self.chunks < 1 or self.transformer.depth % self.chunks:
            raise ValueError(f"depth {self.transformer.depth} is not {self.chunks} equal chunks")
        check_choice("pn", self.pn, PIXEL_BUDGETS)
        check_choice("precision", self.precision, self.precisions)
        check_choice("text_precision", self.text_precision, BYTES)
        if not 0 < self.aspect_ratio < float("inf"):
            raise ValueError(f"aspect_ratio must be positive, got {self.aspect_ratio}")

    @property
    def blocks_per_chunk(self) -> int:
        """Blocks in each group of the checkpoint's numbering."""
        return self.transformer.depth // self.chunks

    def sources(self) -> tuple[Source, ...]:
        files = self.files
        shards: tuple[str, ...] = ()
        if files.transformer.endswith(INDEX):
            shards = ((Path(files.transformer).parent / "*.safetensors").as_posix(),)
        return (
            Source(
                files.repository,
                files.revision,
                folder="",
                files=(files.transformer, files.tokenizer),
                shards=shards,
            ),
            text_encoder(
                files.text_encoder,
                files.text_revision,
                optional=("special_tokens_map.json", "spiece.model"),
            ),
        )

    def described(self) -> dict[str, Any]:
        return {
            "transformer": asdict(self.transformer),
            "tokenizer": asdict(self.tokenizer),
            "grids": self.schedule().scales,
            "precision": [self.precision, self.text_precision],
        }

    def schedule(self) -> Schedule:
        return schedule_for(self.pn, self.aspect_ratio)

    def cache_bytes(self) -> int:
        """Bytes of the keys and values that later scales read, of one guided image."""
        sizes, tokens = self.transformer, self.schedule().total
        return 2 * 2 * sizes.depth * tokens * sizes.width * BYTES[self.precision]
