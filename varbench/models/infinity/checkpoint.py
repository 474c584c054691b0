"""Strict loading: every key of a weights file accounted for, by name, or an error that says which.

A module is either filled in place, or built without storage (on the meta device) and given its
tensors one by one, each straight to its device and precision, so that host memory never holds
more than the model and the weights file that is being read. ``tensor_files.py`` reads the files.
"""

from __future__ import annotations

import re
from collections.abc import Callable, Mapping
from typing import TypeVar

import torch
from torch import Tensor, nn

from varbench.errors import CheckpointError
from varbench.models.infinity.tensor_files import outline, read_tensors

__all__ = [
    "STALE",
    "load_new",
    "load_strict",
    "read_tensors",
    "tokenizer_candidates",
    "transformer_candidates",
]

STALE = re.compile(
    r"(^|\.)(zero_k_bias|lvl_1L|attn_bias_for_masking|Infinity_(in)?visible_\w+|lfq\.mask)$"
)
"""Buffers that hold no information; they may be in a file and are not read."""

Candidates = Callable[[str], list[str]]
"""A module's name of a tensor -> names under which it may stand in a file."""

Module = TypeVar("Module", bound=nn.Module)


def transformer_candidates(blocks_per_chunk: int) -> Candidates:
    """Names under which a transformer parameter may stand in a file."""

    def names(own: str) -> list[str]:
        match = re.fullmatch(r"blocks\.(\d+)\.(.+)", own)
        if not match:
            return [own]
        chunk, place = divmod(int(match[1]), blocks_per_chunk)
        return [own, f"block_chunks.{chunk}.module.{place}.{match[2]}"]

    return names


def tokenizer_candidates(own: str) -> list[str]:
    """Names under which a tokenizer parameter may stand: plain FLUX, or with inner modules."""
    stem, leaf = own.rsplit(".", 1)
    return [own, f"{stem}.conv.{leaf}", f"{stem}.norm.{leaf}"]


def own_name(own: str) -> list[str]:
    """The module's name and no other."""
    return [own]


def _fitted(name: str, value: Tensor, shape: torch.Size) -> Tensor:
    """A file's tensor in the shape that the module expects, where that loses nothing it reads."""
    # Upstream's flash kernel stores the head temperatures as [1, 1, H, 1].
    if name.endswith("scale_mul_1H11") and value.numel() == shape.numel():
        return value.reshape(shape)
    # Null rows beyond the longest prompt are never read.
    if name == "cfg_uncond" and value.ndim == 2 and value.shape[0] > shape[0]:
        return value[: shape[0]]
    return value


def _misfit(name: str, found: str, value: Tensor, shape: torch.Size) -> str | None:
    """What is wrong with a file's tensor, or None."""
    if not value.is_floating_point():
        return f"{found} of type {value.dtype}, expected floating point"
    if _fitted(name, value, shape).shape == shape:
        return None
    hint = ""
    if name == "cfg_uncond" and value.ndim == 2 and value.shape[1] == shape[1]:
        hint = f" (set model.transformer.text_maxlen={value.shape[0]}; more rows were not trained)"
    return f"{found} {tuple(value.shape)}, expected {tuple(shape)}{hint}"


def _match(
    module: nn.Module, tensors: Mapping[str, Tensor], candidates: Candidates, source: str
) -> dict[str, str]:
    """The file's name -> the module's name, in the file's order.

    Raises:
        CheckpointError: missing, extra or misshapen keys, all named (the first ten of each).
    """
    shapes = {name: value.shape for name, value in module.state_dict().items()}
    own_of: dict[str, str] = {}
    missing = []
    for name in shapes:
        found = next((c for c in candidates(name) if c in tensors), None)
        if found is None:
            missing.append(name)
        else:
            own_of[found] = name
    own_of = {found: own_of[found] for found in tensors if found in own_of}
    misfits = [
        _misfit(own, found, outline(tensors, found), shapes[own]) for found, own in own_of.items()
    ]
    extra = [name for name in tensors if name not in own_of and not STALE.search(name)]
    biased = [n for n in tensors if n.endswith("zero_k_bias") and bool(tensors[n].float().any())]
    problems = [
        f"{kind}: {', '.join(names[:10])}{' ...' if len(names) > 10 else ''}"
        for kind, names in (
            ("missing", missing),
            ("extra", extra),
            ("misshapen", [text for text in misfits if text]),
            ("not zero, so this model has key biases, which no released one has", biased),
        )
        if names
    ]
    if problems:
        raise CheckpointError(f"{source} does not fit this model. " + "; ".join(problems))
    return own_of


@torch.no_grad()
def load_strict(
    module: nn.Module,
    tensors: Mapping[str, Tensor],
    candidates: Candidates = own_name,
    source: str = "checkpoint",
) -> None:
    """Copy tensors into a module in place; every key on either side must find its partner.

    Args:
        module: the receiving module.
        tensors: tensors by the file's names.
        candidates: the file names that may stand for one of the module's names.
        source: what to call the file in errors.

    Raises:
        CheckpointError: missing, extra or misshapen keys; nothing has been copied then.
    """
    state = module.state_dict()
    for found, own in _match(module, tensors, candidates, source).items():
        state[own].copy_(_fitted(own, tensors[found], state[own].shape))


def load_new(
    build: Callable[[], Module],
    tensors: Mapping[str, Tensor],
    candidates: Candidates = own_name,
    source: str = "checkpoint",
    *,
    device: torch.device,
    dtype: Callable[[str], torch.dtype] = lambda _: torch.float32,
) -> Module:
    """Build a module without storage and give it its tensors one by one.

    Args:
        build: makes the module; called with the meta device as default.
        tensors, candidates, source: as for :func:`load_strict`.
        device: where the tensors go.
        dtype: precision of each tensor, by the module's name.

    Raises:
        CheckpointError: missing, extra or misshapen keys; nothing has been read then.
    """
    with torch.device("meta"):
        module = build()
    shapes = {name: value.shape for name, value in module.state_dict().items()}
    for found, own in _match(module, tensors, candidates, source).items():
        value = _fitted(own, tensors[found], shapes[own]).to(
            device, dtype(own), copy=True, memory_format=torch.contiguous_format
        )
        owner, _, leaf = own.rpartition(".")
        setattr(module.get_submodule(owner), leaf, nn.Parameter(value))
    return module
