"""The hash of a model in memory, over its sizes and every unedited weight."""

from __future__ import annotations

import hashlib
from collections.abc import Sequence

import torch
from torch import nn


def fingerprint_of(descriptions: Sequence[str], modules: Sequence[nn.Module]) -> str:
    """SHA-256 over texts, then over names and values of all weights (16 hex digits).

    Args:
        descriptions: configs and schedule, in a text form that does not change between runs.
        modules: everything with weights, in a fixed order.
    """
    digest = hashlib.sha256()
    for description in descriptions:
        digest.update(description.encode())
    for module in modules:
        for name, value in sorted(module.state_dict().items()):
            digest.update(name.encode())
            digest.update(value.detach().cpu().contiguous().view(torch.uint8).numpy().tobytes())
    return digest.hexdigest()[:16]
