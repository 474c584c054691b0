"""Models of fake tensors: shapes, dtypes and a device, but no bytes; for counting memory.

A family's model is built at any size from its config alone, without weights.
"""

from __future__ import annotations

import unittest.mock
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, replace
from functools import partial
from typing import Any, Generic, TypeVar

import torch
from torch import Tensor
from torch._subclasses.fake_tensor import FakeTensorMode
from torch.utils._python_dispatch import TorchDispatchMode

from varbench.models.common.execution import Execution
from varbench.models.common.var_model import VarModel
from varbench.models.gallery import sizes as gallery
from varbench.models.infinity.config import InfinityConfig, TokenizerConfig, TransformerConfig
from varbench.models.infinity.model import InfinityModel
from varbench.models.infinity.text import TextCondition
from varbench.models.infinity.tokenizer import BSQVAE
from varbench.models.infinity.transformer import InfinityTransformer
from varbench.models.protocol import Schedule
from varbench.models.registry import MODELS
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
    """A builder of a model of fake tensors, and the memory that its text encoders take.

    Attributes:
        depth: blocks of its transformer.
        make: number of blocks -> the model; ``encode`` gives prompts of the greatest length.
        text_rows: rows of such a prompt.
        resident: bytes of text encoders that stay on the device.
        text_encoder: bytes of those that are freed once prompts are encoded.
    """

    depth: int
    make: Callable[[int], VarModel[Any]]
    text_rows: int
    resident: int
    text_encoder: int

    @contextmanager
    def build(self, depth: int) -> Iterator[VarModel[Any]]:
        """The model with so many blocks, valid inside the context."""
        with fake_tensors(), ConstantValues(self.text_rows):
            yield self.make(depth)


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
    if isinstance(config, SwittiConfig):
        text = BYTES["fp32"] * config.files.text_parameters
        return Blueprint(config.transformer.depth, partial(_switti, config), MAXLEN, 0, text)
    if isinstance(config, InfinityConfig):
        sizes, codes, schedule = config.transformer, config.tokenizer, config.schedule()
        make = partial(_infinity, config, sizes, codes, schedule, config.precision)
        text = BYTES[config.text_precision] * config.files.text_parameters
        return Blueprint(sizes.depth, make, sizes.text_maxlen, 0, text)
    if config.name == "gallery":
        sizes, codes = gallery.TRANSFORMER, gallery.TOKENIZER
        make = partial(_infinity, config, sizes, codes, gallery.SCHEDULE, "fp32")
        text = BYTES["fp32"] * MODELS["gallery"][1].text_encoder
        return Blueprint(sizes.depth, make, sizes.text_maxlen, text, 0)
    return None


def _infinity(
    config: Any,
    sizes: TransformerConfig,
    codes: TokenizerConfig,
    schedule: Schedule,
    precision: str,
    depth: int,
) -> InfinityModel:
    def blank(count: int) -> TextCondition:
        rows = torch.zeros(count, sizes.text_maxlen, sizes.text_width)
        return TextCondition(rows, torch.full((count,), sizes.text_maxlen))

    network = InfinityTransformer(replace(sizes, depth=depth)).requires_grad_(False)
    if precision == "bf16":
        network.blocks.to(torch.bfloat16)
    network.execution = Execution(bf16=precision == "bf16")
    return InfinityModel.of(config, network, BSQVAE(codes), _BlankText(blank), schedule)


def _switti(config: Any, depth: int) -> SwittiModel:
    sizes = config.transformer

    def blank(count: int) -> SwittiCondition:
        rows = torch.zeros(count, MAXLEN, sizes.text_width)
        pooled = torch.zeros(count, sizes.pooled_width)
        return SwittiCondition(rows, torch.full((count,), MAXLEN), pooled)

    network = SwittiTransformer(replace(sizes, depth=depth)).requires_grad_(False)
    tokenizer = VQVAE(config.tokenizer)
    return SwittiModel.of(config, network, tokenizer, _BlankText(blank), config.schedule())
