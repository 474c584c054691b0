"""Low-rank adapters (LoRA, Hu et al., ICLR 2022) through ``peft``.

Only the matrices of the trained parts get adapters; their biases stay. Training results in *changed
tensors*, the originals plus the adapters' product, not the factors: an edit is then the same kind
of thing for all methods, and applying, comparing and exporting it need neither ``peft`` nor the
rank. The price is a file as large as that of a full-rank edit.
"""

from __future__ import annotations

import contextlib
from collections.abc import Collection, Iterator, Mapping
from dataclasses import dataclass
from typing import Any

import torch
from torch import Tensor, nn

from varbench.models.protocol import CapabilityError

NAME = "default"


@dataclass(frozen=True)
class Adapters:
    """Adapters in place.

    Attributes:
        parameters: the factors by name, float32: what the optimiser trains.
        layers: name of the adapted weight -> its ``peft`` layer.
    """

    parameters: dict[str, nn.Parameter]
    layers: Mapping[str, Any]

    @torch.no_grad()
    def merged(self, originals: Mapping[str, Tensor]) -> dict[str, Tensor]:
        """The adapted weights, ``original + alpha / rank * B A``, float32 in host memory."""
        return {
            name: originals[name].float() + layer.get_delta_weight(NAME).float().cpu()
            for name, layer in self.layers.items()
        }


@contextlib.contextmanager
def adapters(
    module: nn.Module, names: Collection[str], rank: int, alpha: float, seed: int
) -> Iterator[Adapters]:
    """Add adapters to the matrices among some parameters; remove them afterwards.

    Args:
        module: changed in place; its modules and parameters are restored.
        names: parameters of the trained parts.
        rank: of every adapter.
        alpha: the product of the factors is multiplied by ``alpha / rank``.
        seed: of the first factor (the second starts at zero, so the model starts unchanged).

    Raises:
        CapabilityError: none of the names is the weight of a linear layer.
    """
    from peft import LoraConfig, LoraModel

    targets = [
        name
        for name, part in module.named_modules()
        if isinstance(part, nn.Linear) and f"{name}.weight" in names
    ]
    if not targets:
        raise CapabilityError("LoRA needs linear layers, and the trained parts have none")
    settings = LoraConfig(r=rank, lora_alpha=alpha, target_modules=targets)  # type: ignore[arg-type]
    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(seed)
        tuner = LoraModel(module, settings, NAME)
    try:
        layers = {f"{name}.weight": module.get_submodule(name) for name in targets}
        factors = {n: p for n, p in module.named_parameters() if "lora_" in n}
        for p in factors.values():
            p.data = p.data.float()
        yield Adapters(factors, layers)
    finally:
        tuner.unload()
