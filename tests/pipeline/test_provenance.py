"""Everything that a number is recorded to depend on."""

from __future__ import annotations

import shutil
from importlib import metadata
from pathlib import Path

import pytest
import torch

from tests.helpers.cli import cells, varbench
from tests.helpers.leaderboard import METHOD, SMALL
from varbench.pipeline import provenance
from varbench.store import Store
from varbench.utils import origin

OURS = f"{METHOD}/face-ada/0"


def test_a_processors_name_has_what_its_rounding_depends_on() -> None:
    before = torch.get_num_threads()
    try:
        torch.set_num_threads(1)
        device = provenance.device_name("cpu")
        torch.set_num_threads(2)
        two = provenance.device_name("cpu")
    finally:
        torch.set_num_threads(before)
    name, instructions, threads = device.rsplit(", ", 2)
    assert name and instructions == torch.backends.cpu.get_cpu_capability()
    assert (threads, two) == ("1 thread", f"{name}, {instructions}, 2 threads")


def test_a_cell_names_every_device_that_contributed(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    run = ["run", "--method", METHOD, "--store", tmp_path, *SMALL]
    here, there = "NVIDIA A100", "NVIDIA H200"
    monkeypatch.setattr(provenance, "device_name", lambda device: here)
    assert varbench(*run).exit_code == 0
    assert {one["provenance"]["device"] for one in cells(tmp_path).values()} == {here}
    ours = cells(tmp_path)[OURS]["inputs"][0]  # a block of images goes to another machine
    stage, _, key = ours.partition("/")
    entry = Store(tmp_path).find(stage, key)
    assert entry is not None and entry.meta["origin"]["device"] == here
    shutil.rmtree(entry.dir)
    shutil.rmtree(tmp_path / "cell")  # equal images would leave it as it is
    monkeypatch.setattr(provenance, "device_name", lambda device: there)
    assert varbench(*run).exit_code == 0
    told = {name: cell["provenance"]["device"] for name, cell in cells(tmp_path).items()}
    assert told == {
        "none/face-ada/0": here,
        OURS: f"{here} and {there}",
    }
    shown = varbench("report", "--store", tmp_path)
    assert shown.exit_code == 0
    assert f"{METHOD} on {here} and {there}" in " ".join(shown.output.split())


def test_versions_are_the_installed_ones() -> None:
    told = origin.versions()
    assert told["torch"] == metadata.version("torch") and told.keys() >= {"python", "clean-fid"}
