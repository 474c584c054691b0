"""Strict loading: every key of a weights file accounted for, by name, or an error that says which.

A module is either filled in place, or built without storage (on the meta device) and given its
tensors one by one, each straight to its device and precision, so that host memory never holds
more than the model and the weights file that is being read. ``tensor_files.py`` reads the files;
what is particular about a family's files is its :class:`Format`.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from typing import TypeVar

import torch
from torch import Tensor, nn

from varbench.errors import CheckpointError
from varbench.models.weights.tensor_files import outline

Module = TypeVar("Module", bound=nn.Module)


class Format:
    """How a file's tensors stand for a module's; as it is, the module's own state dict."""

    def candidates(self, own: str) -> list[str]:
        """Names under which the module's tensor ``own`` may stand in a file."""
        return [own]

    def ignored(self, found: str) -> bool:
        """Whether a tensor that the module does not have may be in a file."""
        return False

    def fitted(self, own: str, value: Tensor, shape: torch.Size) -> Tensor:
        """A file's tensor in the shape that the module expects, where that loses nothing."""
        return value

    def hint(self, own: str, value: Tensor, shape: torch.Size) -> str:
        """What may help where ``value`` has another shape than expected."""
        return ""

    def objections(self, tensors: Mapping[str, Tensor]) -> dict[str, list[str]]:
        """Reasons to refuse a file for what it holds, with the names of the tensors."""
        return {}


PLAIN = Format()


def _misfit(form: Format, own: str, found: str, value: Tensor, shape: torch.Size) -> str | None:
    """What is wrong with a file's tensor, or None."""
    if not value.is_floating_point():
        return f"{found} of type {value.dtype}, expected floating point"
    if form.fitted(own, value, shape).shape == shape:
        return None
    hint = form.hint(own, value, shape)
    told = f"{found} {tuple(value.shape)}, expected {tuple(shape)}"
    return f"{told} ({hint})" if hint else told


def _match(
    module: nn.Module, tensors: Mapping[str, Tensor], form: Format, source: str
) -> dict[str, str]:
    """The file's name -> the module's name, in the file's order.

    Raises:
        CheckpointError: missing, extra or misshapen keys, all named (the first ten of each).
    """
    shapes = {name: value.shape for name, value in module.state_dict().items()}
    own_of: dict[str, str] = {}
    missing = []
    for name in shapes:
        found = next((c for c in form.candidates(name) if c in tensors), None)
        if found is None:
            missing.append(name)
        else:
            own_of[found] = name
    own_of = {found: own_of[found] for found in tensors if found in own_of}
    misfits = [
        _misfit(form, own, found, outline(tensors, found), shapes[own])
        for found, own in own_of.items()
    ]
    extra = [name for name in tensors if name not in own_of and not form.ignored(name)]
    found_problems = {
        "missing": missing,
        "extra": extra,
        "misshapen": [text for text in misfits if text],
    } | form.objections(tensors)
    problems = [
        f"{kind}: {', '.join(names[:10])}{' ...' if len(names) > 10 else ''}"
        for kind, names in found_problems.items()
        if names
    ]
    if problems:
        raise CheckpointError(f"{source} does not fit this model. " + "; ".join(problems))
    return own_of


@torch.no_grad()
def load_strict(
    module: nn.Module,
    tensors: Mapping[str, Tensor],
    form: Format = PLAIN,
    source: str = "checkpoint",
) -> None:
    """Copy tensors into a module in place; every key on either side must find its partner.

    Args:
        module: the receiving module.
        tensors: tensors by the file's names.
        form: how the file's tensors stand for the module's.
        source: what to call the file in errors.

    Raises:
        CheckpointError: missing, extra or misshapen keys; nothing has been copied then.
    """
    state = module.state_dict()
    for found, own in _match(module, tensors, form, source).items():
        state[own].copy_(form.fitted(own, tensors[found], state[own].shape))


def load_new(
    build: Callable[[], Module],
    tensors: Mapping[str, Tensor],
    form: Format = PLAIN,
    source: str = "checkpoint",
    *,
    device: torch.device,
    dtype: Callable[[str], torch.dtype] = lambda _: torch.float32,
) -> Module:
    """Build a module without storage and give it its tensors one by one.

    Args:
        build: makes the module; called with the meta device as default.
        tensors, form, source: as for :func:`load_strict`.
        device: where the tensors go.
        dtype: precision of each tensor, by the module's name.

    Raises:
        CheckpointError: missing, extra or misshapen keys; nothing has been read then.
    """
    with torch.device("meta"):
        module = build()
    shapes = {name: value.shape for name, value in module.state_dict().items()}
    trained = {name for name, _ in module.named_parameters()}
    for found, own in _match(module, tensors, form, source).items():
        value = form.fitted(own, tensors[found], shapes[own]).to(
            device, dtype(own), copy=True, memory_format=torch.contiguous_format
        )
        owner, _, leaf = own.rpartition(".")
        # A buffer that became a parameter would be trained and counted as one.
        setattr(module.get_submodule(owner), leaf, nn.Parameter(value) if own in trained else value)
    return module
