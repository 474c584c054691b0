"""Weights files of tiny Infinity networks: renamed, sharded, and loaded into a module in place."""

from __future__ import annotations

import copy
import json
from collections.abc import Mapping
from pathlib import Path

import torch
from safetensors.torch import save_file
from torch import Tensor, nn

from tests.helpers.infinity_tiny import randomise
from varbench.models.infinity.config import TokenizerConfig, TransformerConfig
from varbench.models.infinity.tokenizer import BSQVAE
from varbench.models.infinity.transformer import InfinityTransformer
from varbench.models.weights.checkpoint import PLAIN, Format, load_new

CONFIG = TransformerConfig(16, depth=4, heads=2, bits=4, text_width=128, text_maxlen=6)


def transformer(seed: int = 1) -> InfinityTransformer:
    return randomise(InfinityTransformer(CONFIG), seed)


def tokenizer(seed: int = 1) -> BSQVAE:
    torch.manual_seed(seed)
    return BSQVAE(TokenizerConfig(4, 32, (1, 2), 1))


def state(module: nn.Module) -> dict[str, Tensor]:
    return {k: v.clone() for k, v in module.state_dict().items()}


def same(a: nn.Module, b: nn.Module) -> bool:
    first, second = a.state_dict(), b.state_dict()
    return first.keys() == second.keys() and all(torch.equal(first[k], second[k]) for k in first)


def load_into(
    module: nn.Module,
    tensors: Mapping[str, Tensor],
    form: Format = PLAIN,
    source: str = "checkpoint",
) -> None:
    """Fill a module in place with what ``load_new`` makes of tensors; raises as that does."""
    loaded = load_new(
        lambda: copy.deepcopy(module), tensors, form, source, device=torch.device("cpu")
    )
    module.load_state_dict(loaded.state_dict())


def sharded(folder: Path, tensors: dict[str, Tensor], count: int = 3, start: str = "") -> Path:
    """Shards whose tensors take turns, so that no order helps; returns the index."""
    folder.mkdir(parents=True, exist_ok=True)
    files = {f"{start}model-{n + 1:05d}-of-{count:05d}.safetensors": n for n in range(count)}
    weight_map = {}
    for file, n in files.items():
        part = {name: tensors[name] for name in list(tensors)[n::count]}
        save_file(part, folder / file)
        weight_map |= dict.fromkeys(part, file)
    index = folder / f"{start}model.safetensors.index.json"
    index.write_text(json.dumps({"metadata": {"total_size": 0}, "weight_map": weight_map}))
    return index
