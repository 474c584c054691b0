"""What a number is recorded to depend on."""

from __future__ import annotations

from importlib import metadata

import torch

from varbench import provenance


def test_a_processor_is_told_with_what_its_rounding_depends_on() -> None:
    before = torch.get_num_threads()
    try:
        torch.set_num_threads(1)
        one = provenance.device_name("cpu")
        torch.set_num_threads(2)
        two = provenance.device_name("cpu")
    finally:
        torch.set_num_threads(before)
    name, instructions, threads = one.rsplit(", ", 2)
    assert name and instructions == torch.backends.cpu.get_cpu_capability()
    assert (threads, two) == ("1 thread", f"{name}, {instructions}, 2 threads")


def test_versions_are_the_installed_ones() -> None:
    told = provenance.versions()
    assert told["torch"] == metadata.version("torch") and told.keys() >= {"python", "clean-fid"}
