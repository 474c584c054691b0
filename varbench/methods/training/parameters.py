"""The parameters in training: which, in which precision, with adapters; restored afterwards.

Three settings of ``train.precision``:

- ``fp32``: everything in float32.
- ``bf16``: matrix products of the blocks in bfloat16; what is trained is kept in float32 (master
  weights), so that updates below half a bfloat16 step still add up. Frozen matrices are cast to
  bfloat16, to which the products would round them anyway.
- ``bf16-weights``: as in the released code of S-VARE all parameters of the blocks are bfloat16
  while they are trained, with AdamW's moments. At its learning rate (2.34e-5) most steps are
  smaller than half a bfloat16 step of the weight and are lost: a sparser edit than the same rate
  gives on master weights.

Low-rank adapters (LoRA, Hu et al., ICLR 2022) come from ``peft``. Only the matrices of the trained
parts get adapters; their biases stay. Training results in *changed tensors*, the originals plus the
adapters' product, not the factors: an edit is then the same kind of thing for all methods, and
applying, comparing and exporting it need neither ``peft`` nor the rank. The price is a file as
large as that of a full-rank edit.
"""

from __future__ import annotations

import contextlib
from collections.abc import Callable, Collection, Iterator, Mapping
from dataclasses import dataclass
from functools import partial
from typing import Any

import torch
from torch import Tensor, nn

from varbench.methods.training.config import FineTuneConfig
from varbench.models.capabilities import HasBlocks, require
from varbench.models.common.execution import Execution, HasExecution
from varbench.models.protocol import CapabilityError, NextScaleModel, trainable

ADAPTER = "default"


def trained_parameters(model: NextScaleModel, config: FineTuneConfig) -> dict[str, nn.Parameter]:
    """The parameters that a config chooses, in state-dict order.

    Raises:
        CapabilityError: the model lacks one of the parts, or has no blocks to choose from.
    """
    chosen = trainable(model, config.parts)
    if not config.blocks:
        return chosen
    blocks = require(model, HasBlocks, f"train.blocks={config.blocks}").blocks()
    first = {name for block in blocks[: config.blocks] for name in block}
    if not first & set(chosen):
        raise CapabilityError(f"train.blocks needs parts inside blocks, got {config.parts}")
    return {name: p for name, p in chosen.items() if name in first}


@contextlib.contextmanager
def training_mode(
    model: NextScaleModel, chosen: Mapping[str, nn.Parameter], config: FineTuneConfig, seed: int
) -> Iterator[tuple[dict[str, nn.Parameter], Callable[[], dict[str, Tensor]]]]:
    """The model ready for training: precision, adapters, gradients. Restores it afterwards.

    Args:
        model: to be trained in place.
        chosen: the parameters of the trained parts.
        config: precision, checkpointing, rank.
        seed: of the adapters.

    Yields:
        The parameters that the optimiser trains, by name, and a function that returns the changed
        tensors, in host memory.
    """
    named = dict(model.weights().named_parameters())
    dtypes = training_dtypes(model, () if config.lora_rank else tuple(chosen), config.precision)
    with contextlib.ExitStack() as stack:
        stack.enter_context(execution_mode(model, config.precision, config.checkpointing))
        stack.callback(model.weights().requires_grad_, False)
        if config.lora_rank:
            context = adapters(model.weights(), chosen, config.lora_rank, config.lora_alpha, seed)
            low_rank = stack.enter_context(context)
            originals = stack.enter_context(cast_parameters(named, dtypes, keep=chosen))
            parameters, result = low_rank.parameters, partial(low_rank.merged, originals)
        else:
            stack.enter_context(cast_parameters(named, dtypes, keep=chosen))
            parameters, result = dict(chosen), partial(_on_host, chosen)
        model.weights().requires_grad_(False)
        for p in parameters.values():
            p.requires_grad_(True)
        yield parameters, result


def _on_host(named: Mapping[str, nn.Parameter]) -> dict[str, Tensor]:
    return {name: p.detach().to("cpu", copy=True) for name, p in named.items()}


@contextlib.contextmanager
def execution_mode(model: NextScaleModel, precision: str, checkpointing: bool) -> Iterator[None]:
    """Set how the model computes in training; restore it afterwards.

    Raises:
        CapabilityError: the model's execution cannot be chosen, and the settings need it.
    """
    if isinstance(model, HasExecution):
        before = model.execution
        model.execution = Execution(bf16=precision != "fp32", checkpointing=checkpointing)
        try:
            yield
        finally:
            model.execution = before
    elif checkpointing or precision != "fp32":
        raise CapabilityError(
            f"{model.name} computes in one way only; train it with train.precision=fp32 "
            "train.checkpointing=false"
        )
    else:
        yield


def training_dtypes(
    model: NextScaleModel, trained: Collection[str], precision: str
) -> dict[str, torch.dtype]:
    """Dtypes of the blocks' parameters during training.

    Args:
        model: any; one without :class:`HasExecution` keeps its dtypes.
        trained: names of the parameters that the optimiser changes (none with LoRA).
        precision: as ``train.precision``.
    """
    if not isinstance(model, HasExecution):
        return {}

    def half(name: str, p: nn.Parameter) -> bool:
        if precision == "bf16":
            return p.ndim == 2 and name not in trained
        return precision == "bf16-weights"

    return {
        name: torch.bfloat16 if half(name, p) else torch.float32
        for name, p in model.block_parameters().items()
    }


@contextlib.contextmanager
def cast_parameters(
    named: Mapping[str, nn.Parameter], dtypes: Mapping[str, torch.dtype], keep: Collection[str]
) -> Iterator[dict[str, Tensor]]:
    """Cast parameters to other dtypes; afterwards they are the same bits again.

    Args:
        named: parameters of a model.
        dtypes: dtypes in training by name; parameters that are not named keep theirs.
        keep: names of the parameters that training may change.

    Yields:
        The original values of ``keep`` and of what was cast, in host memory: next to a model of
        billions of parameters the device has no room for a second copy.
    """
    changing = [n for n, p in named.items() if n in keep or dtypes.get(n, p.dtype) != p.dtype]
    before = {name: named[name].detach().to("cpu", copy=True) for name in changing}
    try:
        for name in changing:
            named[name].data = named[name].data.to(dtypes.get(name, named[name].dtype))
        yield before
    finally:
        with torch.no_grad():
            for name, value in before.items():
                if named[name].dtype == value.dtype:
                    named[name].copy_(value)
                else:
                    named[name].data = value.to(named[name].device)


@dataclass(frozen=True)
class Adapters:
    """Adapters in place.

    Attributes:
        parameters: the factors by name, float32: what the optimiser trains.
        layers: name of the adapted weight -> its ``peft`` layer.
    """

    parameters: dict[str, nn.Parameter]
    layers: Mapping[str, Any]

    @torch.no_grad()
    def merged(self, originals: Mapping[str, Tensor]) -> dict[str, Tensor]:
        """The adapted weights, ``original + alpha / rank * B A``, float32 in host memory."""
        return {
            name: originals[name].float() + layer.get_delta_weight(ADAPTER).float().cpu()
            for name, layer in self.layers.items()
        }


@contextlib.contextmanager
def adapters(
    module: nn.Module, names: Collection[str], rank: int, alpha: float, seed: int
) -> Iterator[Adapters]:
    """Add adapters to the matrices among some parameters; remove them afterwards.

    Args:
        module: changed in place; its modules and parameters are restored.
        names: parameters of the trained parts.
        rank: of every adapter.
        alpha: the product of the factors is multiplied by ``alpha / rank``.
        seed: of the first factor (the second starts at zero, so the model starts unchanged).

    Raises:
        CapabilityError: none of the names is the weight of a linear layer.
    """
    from peft import LoraConfig, LoraModel

    targets = [
        name
        for name, part in module.named_modules()
        if isinstance(part, nn.Linear) and f"{name}.weight" in names
    ]
    if not targets:
        raise CapabilityError("LoRA needs linear layers, and the trained parts have none")
    settings = LoraConfig(r=rank, lora_alpha=alpha, target_modules=targets)  # type: ignore[arg-type]
    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(seed)
        tuner = LoraModel(module, settings, ADAPTER)
    try:
        layers = {f"{name}.weight": module.get_submodule(name) for name in targets}
        factors = {n: p for n, p in module.named_parameters() if "lora_" in n}
        for p in factors.values():
            p.data = p.data.float()
        yield Adapters(factors, layers)
    finally:
        tuner.unload()
