"""Writes the Gallery's networks of scorers with their metadata."""

from __future__ import annotations

import json
from collections.abc import Mapping
from pathlib import Path
from typing import Any

from safetensors.torch import save_file
from torch import nn


def save_network(
    module: nn.Module, path: Path, metadata: Mapping[str, Any], *, half: bool = True
) -> None:
    """Write a network's tensors and metadata (values as JSON); matrices as float16 if ``half``."""
    state = {
        key: (value.half() if half and value.is_floating_point() and value.ndim > 1 else value)
        for key, value in module.state_dict().items()
    }
    path.parent.mkdir(parents=True, exist_ok=True)
    text = {key: json.dumps(value) for key, value in metadata.items()}
    save_file({k: v.contiguous() for k, v in state.items()}, path, metadata=text)
