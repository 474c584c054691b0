"""A model of any family and size without memory, for counting bytes before any are spent."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence
from contextlib import AbstractContextManager, contextmanager
from dataclasses import dataclass, replace
from typing import Any, Generic, TypeVar

import torch

from varbench.models.cards import card
from varbench.models.common.execution import Execution
from varbench.models.fake_tensors import Answers, fake_tensors
from varbench.models.gallery import recipe
from varbench.models.infinity.blueprint import blueprint as infinity
from varbench.models.infinity.config import TokenizerConfig, TransformerConfig
from varbench.models.infinity.released_config import InfinityConfig
from varbench.models.infinity.schedules import schedule_for
from varbench.models.infinity.sizes import transformer_parameters
from varbench.models.infinity.text import TextCondition
from varbench.models.protocol import NextScaleModel, Sampling, Schedule
from varbench.models.switti.model import SwittiModel
from varbench.models.switti.released_config import SwittiConfig
from varbench.models.switti.text import MAXLEN, SwittiCondition
from varbench.models.switti.tokenizer import VQVAE
from varbench.models.switti.transformer import SwittiTransformer
from varbench.models.weights.released import BYTES

C = TypeVar("C")


@dataclass(frozen=True)
class Blueprint:
    """How to build a model of fake tensors, and what it keeps in memory besides.

    Attributes:
        depth: blocks of its transformer.
        build: number of blocks -> the model, valid inside the context. ``encode`` gives prompts
            of the greatest length that conditions are padded to.
        resident: bytes of the networks besides ``weights()`` that stay on the device.
        text_encoder: bytes of text encoders that are freed once prompts are encoded.
    """

    depth: int
    build: Callable[[int], AbstractContextManager[NextScaleModel]]
    resident: int
    text_encoder: int


class _BlankText(Generic[C]):
    """Stands in for a text encoder: every prompt is the same."""

    def __init__(self, blank: Callable[[int], C]) -> None:
        self.blank = blank
        self.truncated: dict[str, int] = {}

    def encode(self, prompts: Sequence[str]) -> C:
        return self.blank(len(prompts))

    def tokens(self, prompt: str) -> list[str]:
        return []

    def fingerprint(self) -> str:
        return ""


def blueprint_of(config: Any) -> Blueprint | None:
    """The blueprint of a model config; None for a plugin's model, whose shapes nobody tells."""
    if isinstance(config, InfinityConfig):
        schedule = schedule_for(config.pn, config.aspect_ratio)
        sizes, codes, memory = config.transformer, config.tokenizer, config.memory()
        build = _infinity(config, sizes, codes, schedule, bf16=config.precision == "bf16")
        return Blueprint(sizes.depth, build, memory.tokenizer, memory.text_encoder)
    if isinstance(config, SwittiConfig):
        memory = config.memory()
        depth = config.transformer.depth
        return Blueprint(depth, _switti(config), memory.tokenizer, memory.text_encoder)
    if config.name == "gallery":
        sizes = recipe.TRANSFORMER
        build = _infinity(config, sizes, recipe.TOKENIZER, recipe.SCHEDULE, bf16=False)
        others = card(config).parameters - transformer_parameters(sizes)
        return Blueprint(sizes.depth, build, BYTES["fp32"] * others, 0)
    return None


def _infinity(
    config: Any,
    sizes: TransformerConfig,
    codes: TokenizerConfig,
    schedule: Schedule,
    bf16: bool,
) -> Callable[[int], AbstractContextManager[NextScaleModel]]:
    def blank(count: int) -> TextCondition:
        rows = torch.zeros(count, sizes.text_maxlen, sizes.text_width)
        return TextCondition(rows, torch.full((count,), sizes.text_maxlen))

    @contextmanager
    def build(depth: int) -> Iterator[NextScaleModel]:
        made = infinity(replace(sizes, depth=depth), codes, schedule)
        with made as model, Answers(sizes.text_maxlen):  # sampling asks for the prompts' lengths
            if bf16:
                model.transformer.blocks.to(torch.bfloat16)
            model.execution = Execution(bf16=bf16)
            model.transformer.requires_grad_(False)
            model.text_encoder = _BlankText(blank)
            model.sampling, model.batch = _sampling(config), _batch(config)
            yield model

    return build


def _switti(config: Any) -> Callable[[int], AbstractContextManager[NextScaleModel]]:
    sizes = config.transformer
    schedule = Schedule(tuple((side, side) for side in config.sides))

    def blank(count: int) -> SwittiCondition:
        return SwittiCondition(
            torch.zeros(count, MAXLEN, sizes.text_width),
            torch.ones(count, MAXLEN, dtype=torch.bool),
            torch.zeros(count, sizes.pooled_width),
        )

    @contextmanager
    def build(depth: int) -> Iterator[NextScaleModel]:
        with fake_tensors():
            yield SwittiModel(
                config.name,
                SwittiTransformer(replace(sizes, depth=depth)).requires_grad_(False),
                VQVAE(config.tokenizer),
                _BlankText(blank),
                schedule,
                _sampling(config),
                _batch(config),
            )

    return build


def _sampling(config: Any) -> Sampling:
    s = config.sampling
    return Sampling(s.guidance, s.temperature, s.top_k, s.top_p)


def _batch(config: Any) -> int:
    return 1 if config.strict else int(config.batch)
