"""Strict loading: every key of a weights file is used, or an error names those that are not.

A module is built without storage (on the meta device) and given its tensors one by one, each
straight to its device and precision, so that host memory never holds more than the model and the
weights file that is being read. ``tensor_files.py`` reads the files;
a family's :class:`Format` maps their tensors to the module's.
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
    """Mapping of a file's tensors to a module's; this one is of a plain state dict."""

    def candidates(self, name: str) -> list[str]:
        """Names that the module's tensor ``name`` may have in a file."""
        return [name]

    def ignored(self, stored: str) -> bool:
        """True for a tensor that a file may hold besides the module's."""
        return False

    def fitted(self, name: str, value: Tensor, shape: torch.Size) -> Tensor:
        """A file's tensor in the shape that the module expects, where that loses nothing."""
        return value

    def hint(self, name: str, value: Tensor, shape: torch.Size) -> str:
        """Advice for a ``value`` of another shape than expected, or nothing."""
        return ""

    def objections(self, tensors: Mapping[str, Tensor]) -> dict[str, list[str]]:
        """Reasons to refuse a file for what it holds, with the names of the tensors."""
        return {}


PLAIN = Format()


def _mismatch(form: Format, name: str, stored: str, value: Tensor, shape: torch.Size) -> str | None:
    """The reason why a file's tensor does not fit, or None."""
    if not value.is_floating_point():
        return f"{stored} of type {value.dtype}, expected floating point"
    if form.fitted(name, value, shape).shape == shape:
        return None
    hint = form.hint(name, value, shape)
    reason = f"{stored} {tuple(value.shape)}, expected {tuple(shape)}"
    return f"{reason} ({hint})" if hint else reason


def _match(
    module: nn.Module, tensors: Mapping[str, Tensor], form: Format, source: str
) -> dict[str, str]:
    """The file's name -> the module's name, in the file's order.

    Raises:
        CheckpointError: missing, extra or misshapen keys, all named (the first ten of each).
    """
    shapes = {name: value.shape for name, value in module.state_dict().items()}
    name_of: dict[str, str] = {}
    missing = []
    for name in shapes:
        stored = next((c for c in form.candidates(name) if c in tensors), None)
        if stored is None:
            missing.append(name)
        else:
            name_of[stored] = name
    name_of = {stored: name_of[stored] for stored in tensors if stored in name_of}
    mismatches = [
        _mismatch(form, name, stored, outline(tensors, stored), shapes[name])
        for stored, name in name_of.items()
    ]
    extra = [stored for stored in tensors if stored not in name_of and not form.ignored(stored)]
    names_by_kind = {
        "missing": missing,
        "extra": extra,
        "misshapen": [reason for reason in mismatches if reason],
    } | form.objections(tensors)
    problems = [
        f"{kind}: {', '.join(names[:10])}{' ...' if len(names) > 10 else ''}"
        for kind, names in names_by_kind.items()
        if names
    ]
    if problems:
        raise CheckpointError(f"{source} does not fit this model. " + "; ".join(problems))
    return name_of


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
        tensors: tensors by the file's names; every key on either side must have a counterpart.
        form: how the file's tensors stand for the module's.
        source: what to call the file in errors.
        device: where the tensors go.
        dtype: precision of each tensor, by the module's name.

    Raises:
        CheckpointError: missing, extra or misshapen keys; nothing has been read then.
    """
    with torch.device("meta"):
        module = build()
    shapes = {name: value.shape for name, value in module.state_dict().items()}
    trained = {name for name, _ in module.named_parameters()}
    for stored, name in _match(module, tensors, form, source).items():
        value = form.fitted(name, tensors[stored], shapes[name]).to(
            device, dtype(name), copy=True, memory_format=torch.contiguous_format
        )
        owner, _, leaf = name.rpartition(".")
        # A buffer that became a parameter would be trained and counted as one.
        setattr(
            module.get_submodule(owner), leaf, nn.Parameter(value) if name in trained else value
        )
    return module
