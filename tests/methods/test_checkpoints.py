"""Checkpoints of a training: resumed if whole, dropped with a warning if not."""

from __future__ import annotations

import logging
from pathlib import Path

import pytest
import torch
from torch import nn

from varbench.methods.training import checkpoints


def training(seed: int = 0, width: int = 4) -> tuple[dict[str, nn.Parameter], torch.optim.AdamW]:
    torch.manual_seed(seed)
    parameters = {
        "weight": nn.Parameter(torch.randn(3, width)),
        "bias": nn.Parameter(torch.ones(3)),
    }
    optimiser = torch.optim.AdamW(parameters.values(), lr=0.1)
    sum(p.square().sum() for p in parameters.values()).backward()  # type: ignore[union-attr]
    optimiser.step()
    return parameters, optimiser


def saved(path: Path) -> dict[str, nn.Parameter]:
    parameters, optimiser = training()
    checkpoints.save(path, parameters, optimiser, 7, [{"step": 1.0, "loss": 0.5}])
    return parameters


def test_a_whole_checkpoint_is_resumed(tmp_path: Path) -> None:
    kept = saved(tmp_path / "t.pt")
    other, optimiser = training(seed=1)
    assert checkpoints.resume(tmp_path / "t.pt", other, optimiser) == (
        7,
        [{"step": 1.0, "loss": 0.5}],
    )
    assert all(torch.equal(other[name], kept[name]) for name in kept)
    assert optimiser.state_dict()["state"][0]["step"] == 1
    assert checkpoints.resume(tmp_path / "none.pt", *training()) == (0, [])


def test_no_flipped_byte_reaches_the_training(
    tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    path = tmp_path / "t.pt"
    saved(path)
    data = path.read_bytes()
    for place in range(0, len(data), 7):
        path.write_bytes(data[:place] + bytes([data[place] ^ 0x10]) + data[place + 1 :])
        other, optimiser = training(seed=1)
        before = {name: p.detach().clone() for name, p in other.items()}
        with caplog.at_level(logging.WARNING, "varbench.training"):
            assert checkpoints.resume(path, other, optimiser) == (0, [])
        assert all(torch.equal(other[name], before[name]) for name in before)
    assert "training starts again" in caplog.text


@pytest.mark.parametrize("size", [0, 1, 100, -1])
def test_a_truncated_checkpoint_is_dropped(tmp_path: Path, size: int) -> None:
    saved(tmp_path / "t.pt")
    data = (tmp_path / "t.pt").read_bytes()
    (tmp_path / "t.pt").write_bytes(data[:size])
    assert checkpoints.resume(tmp_path / "t.pt", *training()) == (0, [])


def test_a_checkpoint_of_other_parameters_is_dropped_whole(tmp_path: Path) -> None:
    saved(tmp_path / "t.pt")
    other, optimiser = training(seed=1, width=5)
    before = {name: p.detach().clone() for name, p in other.items()}
    assert checkpoints.resume(tmp_path / "t.pt", other, optimiser) == (0, [])
    assert all(torch.equal(other[name], before[name]) for name in other)
