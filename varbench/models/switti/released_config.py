"""Config of a released Switti; its values are in ``conf/model/switti*.yaml``.

Stated by the public code: every size, name and rule there and here. Inferred: that all four use
the crop condition, RoPE and SwiGLU (defaults of the code; the byte counts of three of the hub's
``config.json`` fit them), and that the one tokenizer serves each model at the model's own grids.
"""

from __future__ import annotations

from dataclasses import asdict, dataclass
from typing import Any, Self

from varbench.models.protocol import Schedule
from varbench.models.switti.config import TokenizerConfig, TransformerConfig
from varbench.models.weights.released import (
    BYTES,
    Parameters,
    ReleasedConfig,
    Source,
    text_encoder,
)

WEIGHTS = "model.safetensors"
"""File of the transformer and of the tokenizer in their repositories."""


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
        """Square grids of the model's sides."""
        return Schedule(tuple((side, side) for side in self.sides))

    def weight_bytes(self, parameters: Parameters) -> int:
        return BYTES["fp32"] * parameters.total

    def cache_bytes(self) -> int:
        sizes = self.transformer
        if not sizes.causal:
            return 0
        return 2 * 2 * sizes.depth * self.schedule().total * sizes.width * BYTES["fp32"]

    def at(self, precision: str) -> Self | None:
        return self if precision == "fp32" else None
