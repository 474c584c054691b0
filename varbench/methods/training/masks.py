"""Training of some entries of the tensors only, whatever optimiser and weight decay do (SalUn)."""

from __future__ import annotations

import contextlib
from collections.abc import Iterator, Mapping
from functools import partial

import torch
from torch import Tensor, nn


@contextlib.contextmanager
def masked(
    parameters: Mapping[str, nn.Parameter],
    optimiser: torch.optim.Optimizer,
    masks: Mapping[str, Tensor] | None,
) -> Iterator[None]:
    """While open, only some entries of the parameters train; the others keep their bits.

    The others' gradients are zero before anything reads them, so clipping measures what will
    move; after each optimiser step their values are put back, because moments of earlier steps
    and weight decay move entries without a gradient.

    Args:
        parameters: what the optimiser trains, by name.
        optimiser: any.
        masks: per parameter a bool tensor of its shape, True where it may change; None for all.

    Raises:
        ValueError: the masks do not match the parameters.
    """
    if masks is None:
        yield
        return
    if {n: m.shape for n, m in masks.items()} != {n: p.shape for n, p in parameters.items()}:
        raise ValueError(
            "masks must match the trained parameters; adapters have none, set train.lora_rank=0"
        )
    fixed = {n: ~masks[n].to(p.device) for n, p in parameters.items()}
    values = {n: p.detach()[fixed[n]] for n, p in parameters.items()}

    def put_back(*_: object) -> None:
        for name, p in parameters.items():
            p.detach().masked_scatter_(fixed[name], values[name])

    with contextlib.ExitStack() as stack:
        stack.callback(optimiser.register_step_post_hook(put_back).remove)
        for name, p in parameters.items():
            silence = partial(_silence, fixed[name])
            stack.callback(p.register_post_accumulate_grad_hook(silence).remove)
        yield


def _silence(fixed: Tensor, p: Tensor) -> None:
    if p.grad is not None:
        p.grad.masked_fill_(fixed, 0)
