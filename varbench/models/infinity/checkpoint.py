"""Strict checkpoint loading: every key accounted for, by name, or an error that says which.

Reads upstream's transformer files (flat, or nested under ``trainer`` / ``gpt_fsdp``) and
tokenizer files (either naming scheme, nested under ``vae``), as safetensors or as pickles
restricted to tensors (``torch.load(weights_only=True)``).
"""

from __future__ import annotations

import re
from collections.abc import Callable, Mapping
from pathlib import Path

import torch
from safetensors import SafetensorError
from safetensors.torch import load_file
from torch import Tensor, nn

from varbench.errors import CheckpointError

STALE = re.compile(
    r"(^|\.)(zero_k_bias|lvl_1L|attn_bias_for_masking|Infinity_(in)?visible_\w+|lfq\.mask)$"
)
"""Buffers that hold no information; they may be in a file and are not read."""

NESTS = ("trainer", "gpt_fsdp", "vae")


def read_tensors(path: Path) -> dict[str, Tensor]:
    """All tensors of one weights file, un-nested.

    Raises:
        CheckpointError: no such file, truncated, a pickle with anything but tensors, no tensors.
    """
    if not path.is_file():
        raise CheckpointError(f"no weights file at {path}")
    try:
        if path.suffix == ".safetensors":
            return load_file(path)
        found = torch.load(path, map_location="cpu", weights_only=True)
    except (SafetensorError, OSError, RuntimeError, EOFError, ValueError) as error:
        raise CheckpointError(f"{path} is damaged or truncated: {error}") from error
    except Exception as error:  # pickle.UnpicklingError and what a hostile file may provoke
        raise CheckpointError(
            f"{path} is not a plain tensor file (only tensors are loaded): {error}"
        ) from error
    while isinstance(found, Mapping) and (nest := next((n for n in NESTS if n in found), None)):
        found = found[nest]
    if not isinstance(found, Mapping) or not found:
        raise CheckpointError(f"{path} holds no state dict")
    wrong = [name for name, value in found.items() if not isinstance(value, Tensor)]
    if wrong:
        raise CheckpointError(f"{path}: not tensors: {', '.join(map(str, wrong[:5]))}")
    return dict(found)


def transformer_candidates(blocks_per_chunk: int) -> Callable[[str], list[str]]:
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


def load_strict(
    module: nn.Module,
    tensors: Mapping[str, Tensor],
    candidates: Callable[[str], list[str]] = lambda own: [own],
    source: str = "checkpoint",
) -> None:
    """Copy tensors into a module; every key on either side must find its partner.

    Args:
        module: the receiving module.
        tensors: tensors by the file's names.
        candidates: the file names that may stand for one of the module's names.
        source: what to call the file in errors.

    Raises:
        CheckpointError: missing, extra or misshapen keys, all named (the first ten of each).
    """
    own = module.state_dict()
    matched: dict[str, Tensor] = {}
    used: set[str] = set()
    missing, misshapen = [], []
    for name, target in own.items():
        found = next((c for c in candidates(name) if c in tensors), None)
        if found is None:
            missing.append(name)
            continue
        used.add(found)
        value = tensors[found]
        # Upstream's flash kernel stores the head temperatures as [1, 1, H, 1].
        if name.endswith("scale_mul_1H11") and value.numel() == target.numel():
            value = value.reshape(target.shape)
        if value.shape != target.shape:
            misshapen.append(f"{found} {tuple(value.shape)}, expected {tuple(target.shape)}")
        matched[name] = value
    extra = [name for name in tensors if name not in used and not STALE.search(name)]
    problems = [
        f"{kind}: {', '.join(names[:10])}{' ...' if len(names) > 10 else ''}"
        for kind, names in (("missing", missing), ("extra", extra), ("misshapen", misshapen))
        if names
    ]
    if problems:
        raise CheckpointError(f"{source} does not fit this model. " + "; ".join(problems))
    module.load_state_dict(matched, strict=True)
