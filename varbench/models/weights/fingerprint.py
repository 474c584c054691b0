"""One hash per model, over its sizes and every unedited weight."""

from __future__ import annotations

import hashlib
from collections.abc import Sequence
from dataclasses import asdict
from typing import Any

import torch
from torch import nn

from varbench.models.protocol import Schedule
from varbench.models.text.encoders import PromptEncoder


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


def fingerprint_of_model(
    transformer: Any, tokenizer: Any, schedule: Schedule, text: PromptEncoder[Any] | None
) -> str:
    """SHA-256 over sizes, schedule, text encoders and all weights (16 hex digits).

    Args:
        transformer, tokenizer: modules with a ``config`` dataclass.
        schedule: the grids.
        text: None where the model has no text encoder of its own.
    """
    described = [repr(asdict(transformer.config)), repr(asdict(tokenizer.config))]
    described.append(repr(schedule.scales))
    if text is not None:
        described.append(text.fingerprint())
    return fingerprint_of(described, [transformer, tokenizer])
