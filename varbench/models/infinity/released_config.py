"""Config of a released Infinity; its values are in ``conf/model/infinity-*.yaml``."""

from __future__ import annotations

from dataclasses import asdict, dataclass, replace
from pathlib import Path
from typing import Any, Self

from varbench.models.infinity.config import (
    PRECISIONS,
    TEXT_PRECISIONS,
    TokenizerConfig,
    TransformerConfig,
)
from varbench.models.infinity.schedules import PIXEL_BUDGETS, grids_for
from varbench.models.weights.released import (
    BYTES,
    INDEX,
    Parameters,
    ReleasedConfig,
    Source,
    text_encoder,
)


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

    def __post_init__(self) -> None:
        expected = self.tokenizer.bits * (4 if self.transformer.patchify else 1)
        if self.transformer.bits != expected:
            raise ValueError(
                f"transformer.bits must be {expected} with a tokenizer of {self.tokenizer.bits} "
                f"bits and patchify={self.transformer.patchify}, got {self.transformer.bits}"
            )
        if self.chunks < 1 or self.transformer.depth % self.chunks:
            raise ValueError(f"depth {self.transformer.depth} is not {self.chunks} equal chunks")
        for name, value, known in (
            ("pn", self.pn, tuple(PIXEL_BUDGETS)),
            ("precision", self.precision, PRECISIONS),
            ("text_precision", self.text_precision, TEXT_PRECISIONS),
        ):
            if value not in known:
                raise ValueError(f"{name} must be one of {', '.join(known)}, got {value!r}")
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
            "grids": grids_for(self.pn, self.aspect_ratio),
            "precision": [self.precision, self.text_precision],
        }

    def weight_bytes(self, parameters: Parameters) -> int:
        whole = BYTES["fp32"] * (parameters.outer + parameters.tokenizer)
        text = BYTES[self.text_precision] * parameters.text_encoder
        return BYTES[self.precision] * parameters.blocks + whole + text

    def cache_bytes(self) -> int:
        tokens = sum(h * w for h, w in grids_for(self.pn, self.aspect_ratio))
        sizes = self.transformer
        return 2 * 2 * sizes.depth * tokens * sizes.width * BYTES[self.precision]

    def at(self, precision: str) -> Self | None:
        if precision == "fp32":
            return replace(self, precision="fp32", text_precision="fp32")
        return replace(self, precision=precision) if precision in PRECISIONS else None
