"""Precision of weights and computation during training, restored afterwards.

Three settings of ``train.precision``:

- ``fp32``: everything in float32.
- ``bf16``: matrix products of the blocks in bfloat16; what is trained is kept in float32 (master
  weights), so that updates below half a bfloat16 step still add up. Frozen matrices are cast to
  bfloat16, to which the products would round them anyway.
- ``bf16-weights``: as in the released code of S-VARE all parameters of the blocks are bfloat16
  while they are trained, with AdamW's moments. At its learning rate (2.34e-5) most steps are
  smaller than half a bfloat16 step of the weight and are lost: a sparser edit than the same rate
  gives on master weights.
"""

from __future__ import annotations

import contextlib
from collections.abc import Collection, Iterator, Mapping

import torch
from torch import Tensor, nn

from varbench.models.common.execution import Execution, HasExecution
from varbench.models.protocol import CapabilityError, NextScaleModel

PRECISIONS = ("fp32", "bf16", "bf16-weights")


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
        precision: one of :data:`PRECISIONS`.
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
