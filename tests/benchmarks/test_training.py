"""The training benchmark runs at toy size, and both its ways compute the same."""

from __future__ import annotations

import importlib.util
import sys
from types import ModuleType

import pytest
import torch

from tests.helpers.infinity_tiny import SCHEDULES, logits_and_gradients, model_of, pairs_of
from tests.helpers.paths import ROOT
from varbench.models.infinity import attention

FILE = ROOT / "benchmarks" / "training.py"


@pytest.fixture(scope="module")
def benchmark() -> ModuleType:
    spec = importlib.util.spec_from_file_location("benchmark_training", FILE)
    assert spec is not None and spec.loader is not None
    module = importlib.util.module_from_spec(spec)
    sys.modules[spec.name] = module
    spec.loader.exec_module(module)
    return module


@pytest.mark.parametrize("precision", ["fp32", "bf16"])
def test_table(benchmark: ModuleType, precision: str, capsys: pytest.CaptureFixture[str]) -> None:
    sizes = "--pn 0.06M --width 32 --depth 2 --heads 2 --bits 4 --text-width 128 --text-rows 3"
    benchmark.main([*sizes.split(), "--precision", precision, "--repeats", "1", "--device", "cpu"])
    lines = capsys.readouterr().out.splitlines()
    assert lines[0].startswith(f"0.06M, 521 tokens, width 32, depth 2, batch 1, {precision}, cpu")
    rows = {line[:27].strip(): [float(x) for x in line[27:].split()] for line in lines[3:]}
    assert list(rows) == [variant.name for variant in benchmark.VARIANTS]
    assert all(len(numbers) == 3 and min(numbers[0], numbers[1]) > 0 for numbers in rows.values())
    assert rows["dense mask"][1] == 1


def test_both_ways_compute_the_same(benchmark: ModuleType, monkeypatch: pytest.MonkeyPatch) -> None:
    schedule = SCHEDULES["portrait, 6 scales"]
    model, (pairs, text) = model_of(schedule), pairs_of(schedule)
    results = logits_and_gradients(model, pairs, text)
    dense = benchmark.dense_attention(schedule.lengths, "cpu")
    monkeypatch.setattr(attention, "attend_by_scale", dense)
    for key, value in logits_and_gradients(model, pairs, text).items():
        torch.testing.assert_close(value, results[key], atol=1e-5, rtol=1e-5)


def test_recomputing_needs_less(benchmark: ModuleType) -> None:
    sizes = "--pn 0.06M --width 32 --depth 4 --heads 2 --bits 4 --text-width 128 --text-rows 3"
    args = benchmark.parser().parse_args([*sizes.split(), "--repeats", "1", "--device", "cpu"])
    peaks = {name: peak for name, (_, peak) in benchmark.measure(args).items()}
    assert peaks["per scale, checkpointing"] < 0.6 * peaks["per scale"]
    assert peaks["per scale"] < peaks["dense mask"]
