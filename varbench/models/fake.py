"""Models of fake tensors: shapes, dtypes and a device, but no bytes; for counting memory.

A family's model is built at any size from its config alone, without weights.
"""

from __future__ import annotations

import unittest.mock
from collections.abc import Callable, Iterator, Sequence
from contextlib import AbstractContextManager, contextmanager
from dataclasses import dataclass, replace
from functools import partial
from typing import Any, Generic, TypeVar

import torch
from torch import Tensor, nn
from torch._subclasses.fake_tensor import FakeTensorMode
from torch.utils._python_dispatch import TorchDispatchMode

from varbench.models.common.execution import Execution
from varbench.models.common.var_model import batch_of
from varbench.models.gallery import sizes as gallery
from varbench.models.infinity.config import InfinityConfig, TokenizerConfig, TransformerConfig
from varbench.models.infinity.model import InfinityModel
from varbench.models.infinity.text import TextCondition
from varbench.models.infinity.tokenizer import BSQVAE
from varbench.models.infinity.transformer import InfinityTransformer
from varbench.models.protocol import NextScaleModel, Sampling, Schedule
from varbench.models.registry import PARAMETERS
from varbench.models.switti.config import SwittiConfig
from varbench.models.switti.model import SwittiModel
from varbench.models.switti.text import MAXLEN, SwittiCondition
from varbench.models.switti.tokenizer import VQVAE
from varbench.models.switti.transformer import SwittiTransformer
from varbench.models.weights.released import BYTES

C = TypeVar("C")


@contextmanager
def fake_tensors() -> Iterator[None]:
    """A context in which everything made and computed is fake.

    Unlike tensors on the meta device they have a device of their own (a CPU), so that autocast
    and the choice of attention kernels work as they do on real ones.
    """
    # `Module.to` swaps fake parameters for their casts, and fails because a fake mode refers to
    # them weakly; setting `.data`, as it does for real ones, works. peft calls it.
    swap = unittest.mock.patch("torch.utils.swap_tensors", _set_data)
    with FakeTensorMode(), swap:
        yield


def _set_data(old: Tensor, new: Tensor) -> None:
    old.data = new.data


class ConstantValues(TorchDispatchMode):
    """Inside, every fake tensor's value (``item``, ``tolist``) is one number.

    Sampling reads the lengths of the prompts: the number stands in for all of them.
    """

    def __init__(self, value: float) -> None:
        super().__init__()  # type: ignore[no-untyped-call]
        self.value = value

    def __torch_dispatch__(
        self, func: Any, types: Any, args: tuple[Any, ...] = (), kwargs: Any = None
    ) -> Any:
        if func is torch.ops.aten._local_scalar_dense.default:
            return self.value
        return func(*args, **(kwargs or {}))


@dataclass(frozen=True)
class Blueprint:
    """A builder of a model of fake tensors, and the memory that other networks take.

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
    """A stand-in for a text encoder: every prompt is the same."""

    def __init__(self, blank: Callable[[int], C]) -> None:
        self.blank = blank
        self.truncated: dict[str, int] = {}

    def encode(self, prompts: Sequence[str]) -> C:
        return self.blank(len(prompts))

    def tokens(self, prompt: str) -> list[str]:
        return []


def blueprint_of(config: Any) -> Blueprint | None:
    """The blueprint of a model config; None for a plugin's model, whose shapes are not known."""
    if isinstance(config, InfinityConfig):
        sizes, bf16 = config.transformer, config.precision == "bf16"
        build = partial(_infinity, config, sizes, config.tokenizer, config.schedule(), bf16)
        text = BYTES[config.text_precision] * config.files.text_parameters
        return Blueprint(sizes.depth, build, _bytes_of(lambda: BSQVAE(config.tokenizer)), text)
    if isinstance(config, SwittiConfig):
        text = BYTES["fp32"] * config.files.text_parameters
        resident = _bytes_of(lambda: VQVAE(config.tokenizer))
        return Blueprint(config.transformer.depth, partial(_switti, config), resident, text)
    if config.name == "gallery":
        sizes, parameters = gallery.TRANSFORMER, PARAMETERS["gallery"]
        build = partial(_infinity, config, sizes, gallery.TOKENIZER, gallery.SCHEDULE, False)
        resident = BYTES["fp32"] * (parameters.tokenizer + parameters.text_encoder)
        return Blueprint(sizes.depth, build, resident, 0)
    return None


def _bytes_of(build: Callable[[], nn.Module]) -> int:
    with torch.device("meta"):
        return sum(p.nbytes for p in build().parameters())


@contextmanager
def _infinity(
    config: Any,
    sizes: TransformerConfig,
    codes: TokenizerConfig,
    schedule: Schedule,
    bf16: bool,
    depth: int,
) -> Iterator[NextScaleModel]:
    def blank(count: int) -> TextCondition:
        rows = torch.zeros(count, sizes.text_maxlen, sizes.text_width)
        return TextCondition(rows, torch.full((count,), sizes.text_maxlen))

    made = fake_infinity(replace(sizes, depth=depth), codes, schedule)
    with made as model, ConstantValues(sizes.text_maxlen):
        if bf16:
            model.transformer.blocks.to(torch.bfloat16)
        model.execution = Execution(bf16=bf16)
        model.transformer.requires_grad_(False)
        model.text_encoder = _BlankText(blank)
        model.sampling, model.batch = config.sampling, batch_of(config)
        yield model


@contextmanager
def fake_infinity(
    transformer: TransformerConfig, tokenizer: TokenizerConfig, schedule: Schedule
) -> Iterator[InfinityModel]:
    """An Infinity of fake tensors; inside the context everything computed is fake, too."""
    with fake_tensors():
        network = InfinityTransformer(transformer)
        yield InfinityModel("blueprint", network, BSQVAE(tokenizer), None, schedule, Sampling())


@contextmanager
def _switti(config: Any, depth: int) -> Iterator[NextScaleModel]:
    sizes = config.transformer

    def blank(count: int) -> SwittiCondition:
        rows = torch.zeros(count, MAXLEN, sizes.text_width)
        pooled = torch.zeros(count, sizes.pooled_width)
        return SwittiCondition(rows, torch.full((count,), MAXLEN), pooled)

    with fake_tensors():
        yield SwittiModel(
            config.name,
            SwittiTransformer(replace(sizes, depth=depth)).requires_grad_(False),
            VQVAE(config.tokenizer),
            _BlankText(blank),
            config.schedule(),
            config.sampling,
            batch_of(config),
        )
