"""Building a module from tensors: parameters and buffers stay such, and formats are asked."""

from __future__ import annotations

from collections.abc import Mapping

import pytest
import torch
from torch import Tensor, nn

from tests.helpers.weights_files import load_into
from varbench.errors import CheckpointError
from varbench.models.weights.checkpoint import Format, load_new

CPU = torch.device("cpu")


class Network(nn.Module):
    """A parameter and a buffer; deeper down, too."""

    def __init__(self, depth: int = 1) -> None:
        super().__init__()
        self.weight = nn.Parameter(torch.randn(3, 2))
        self.register_buffer("speeds", torch.randn(4))
        if depth:
            self.inner = Network(depth - 1)


def tensors(seed: int = 0) -> dict[str, Tensor]:
    torch.manual_seed(seed)
    return {name: value.clone() for name, value in Network().state_dict().items()}


def test_a_new_modules_buffers_are_buffers() -> None:
    given = tensors()
    half = {"inner.weight", "inner.speeds"}
    made = load_new(
        Network, given, device=CPU, dtype=lambda n: torch.bfloat16 if n in half else torch.float32
    )
    assert [name for name, _ in made.named_parameters()] == ["weight", "inner.weight"]
    assert [name for name, _ in made.named_buffers()] == ["speeds", "inner.speeds"]
    for name, value in made.state_dict().items():
        assert value.device == CPU
        assert torch.equal(value, given[name].to(torch.bfloat16 if name in half else value.dtype))
    given["speeds"].zero_()
    assert made.get_buffer("speeds").any(), "the module's tensors are its own"


class Renamed(Format):
    """Names with a prefix, weights transposed, one tensor that is not read, one that must be 0."""

    def candidates(self, name: str) -> list[str]:
        return [f"net.{name}"]

    def ignored(self, stored: str) -> bool:
        return stored in ("step", "noise")

    def fitted(self, name: str, value: Tensor, shape: torch.Size) -> Tensor:
        return value.t() if name.endswith("weight") and value.t().shape == shape else value

    def hint(self, name: str, value: Tensor, shape: torch.Size) -> str:
        return "set speeds=5" if name.endswith("speeds") else ""

    def objections(self, tensors: Mapping[str, Tensor]) -> dict[str, list[str]]:
        return {"not zero": [n for n in tensors if n == "noise" and bool(tensors[n].any())]}


def renamed() -> dict[str, Tensor]:
    given = {f"net.{n}": v.t() if n.endswith("weight") else v for n, v in tensors().items()}
    return given | {"step": torch.tensor(3), "noise": torch.zeros(2)}


def test_a_format_decides_what_a_file_means() -> None:
    made, filled = load_new(Network, renamed(), Renamed(), device=CPU), Network()
    load_into(filled, renamed(), Renamed())
    for module in (made, filled):
        for name, value in tensors().items():
            assert torch.equal(module.state_dict()[name], value)
    for change, words in (
        ({"noise": torch.ones(2)}, "not zero: noise"),
        ({"net.speeds": torch.ones(5)}, r"net\.speeds \(5,\), expected \(4,\) \(set speeds=5\)"),
        ({"net.weight": torch.ones(5)}, r"misshapen: net\.weight \(5,\), expected \(3, 2\)$"),
        ({"speeds": torch.ones(4)}, "extra: speeds"),
        ({"net.speeds": torch.ones(4, dtype=torch.int64)}, r"net\.speeds of type torch\.int64"),
    ):
        with pytest.raises(CheckpointError, match=words):
            load_new(Network, renamed() | change, Renamed(), device=CPU)
