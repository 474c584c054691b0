"""The time and memory of a block of code."""

from __future__ import annotations

import sys
import time

import numpy as np
import pytest
import torch

from varbench.utils.metering import metered

MB = 1_000_000


def peak_while(megabytes: int) -> int:
    with metered("cpu") as cost:
        held = np.ones(megabytes * MB // 8)
        assert held[-1] == 1
    assert cost.memory is not None
    return cost.memory


@pytest.mark.skipif(sys.platform != "linux", reason="counts resident sets as Linux does")
def test_the_peak_is_that_of_the_block_and_not_of_the_process() -> None:
    small, large, again = peak_while(10), peak_while(300), peak_while(10)
    assert 250 * MB < large - small < 350 * MB
    assert abs(again - small) < 100 * MB


def test_seconds_are_those_of_the_block() -> None:
    with metered("cpu") as cost:
        time.sleep(0.05)
    assert 0.05 <= cost.seconds < 5


@pytest.mark.gpu
def test_on_cuda_the_peak_is_what_the_device_held() -> None:
    torch.empty(400 * MB, dtype=torch.uint8, device="cuda")
    with metered("cuda") as cost:
        torch.empty(100 * MB, dtype=torch.uint8, device="cuda")
    assert cost.memory is not None
    assert cost.memory - torch.cuda.memory_allocated() == pytest.approx(100 * MB, rel=0.05)
