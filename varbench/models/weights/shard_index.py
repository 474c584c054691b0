"""The index file of safetensors shards: which file holds which tensor."""

from __future__ import annotations

import json
from pathlib import Path

from varbench.errors import CheckpointError

INDEX = ".index.json"


def shard_names(index: Path) -> dict[str, tuple[str, ...]]:
    """File names of an index's shards -> names of the tensors in each.

    Raises:
        CheckpointError: not an index of files in its own folder.
    """
    shards: dict[str, list[str]] = {}
    try:
        weight_map = json.loads(index.read_text(encoding="utf-8"))["weight_map"]
        for name, file in weight_map.items():
            if Path(file).name != file:
                raise ValueError(f"{file!r} is not a plain file name")
            shards.setdefault(file, []).append(name)
    except (OSError, ValueError, KeyError, TypeError, AttributeError) as error:
        raise CheckpointError(
            f"{index} is not an index of safetensors shards ({error}); fetch it again"
        ) from error
    return {file: tuple(shards[file]) for file in sorted(shards)}
