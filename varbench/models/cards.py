"""What ``varbench list models`` says of a model, found out without torch and without loading."""

from __future__ import annotations

from dataclasses import dataclass
from importlib import resources
from pathlib import Path
from typing import Any

from safetensors import safe_open

from varbench.models.weights.locate import find, place
from varbench.models.weights.released import ReleasedConfig


@dataclass(frozen=True)
class Card:
    """A model's size and whether its weights are there.

    Attributes:
        parameters: of all networks that generation needs, the text encoders included.
        fp32, bf16: bytes of all weights in float32, and with the precisions of the released
            model (blocks in bfloat16, text encoder as configured); None where not offered.
        generate: bytes of weights at the model's own precision, plus the keys and values of one
            guided image: the least that generating needs.
        place: where the weights are looked for.
        missing: files that are not there.
    """

    parameters: int
    fp32: int | None
    bf16: int | None
    generate: int | None
    place: str
    missing: tuple[str, ...]


def released_card(config: ReleasedConfig) -> Card:
    """The card of a released model; its parameters follow from its sizes."""
    whole, half = config.at("fp32"), config.at("bf16")
    return Card(
        config.parameters(),
        whole.memory().weights if whole else None,
        half.memory().weights if half else None,
        config.memory().generate,
        place(config),
        tuple(f"{part.source.repository}/{name}" for part in find(config) for name in part.missing),
    )


def shipped_card(package: str) -> Card:
    """The card of a model whose weights are in the package, from the headers of its files."""
    folder = Path(str(resources.files(package) / "weights"))
    count = 0
    for file in folder.rglob("*.safetensors"):
        with safe_open(file, "np") as handle:
            for name in handle.keys():  # noqa: SIM118 (no mapping)
                size = 1
                for side in handle.get_slice(name).get_shape():
                    size *= side
                count += size
    return Card(count, 4 * count, None, None, "the package", ())


def card(config: Any) -> Card:
    """The card of a model config."""
    if isinstance(config, ReleasedConfig):
        return released_card(config)
    return shipped_card(f"varbench.models.{config.name}")
