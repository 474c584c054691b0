"""CMMD against brute force, its authors' formula and the textbook's unbiased estimate."""

from __future__ import annotations

from functools import partial

import numpy as np
import pytest

from tests.helpers.metrics import Prompt, group, metric_inputs, number, unit, value, world
from varbench.metrics import METRICS
from varbench.metrics.groups import Array, row_blocks
from varbench.metrics.kernel_distance import SCALE, cmmd_with_same, gaussian_kernel, paired_mmd

paired_cmmd = partial(paired_mmd, kernel=gaussian_kernel, scale=SCALE)


def kernel(a: Array, b: Array) -> float:
    return float(np.exp(-(np.linalg.norm(a - b) ** 2) / 200))


def rows(seed: int, n: int, e: int = 8, shift: float = 0.0) -> Array:
    drawn = np.random.default_rng(seed).normal(size=(n, e))
    drawn[:, 0] += shift
    return unit(drawn)


def test_cmmd_is_brute_force_over_pairs_of_different_prompts() -> None:
    x, y = rows(0, 11), rows(1, 11, shift=1)
    prompts = np.array([0, 0, 1, 1, 1, 2, 3, 3, 4, 4, 4])
    blocks = []
    for c in range(5):
        for other in range(5):
            if other != c:
                terms = [
                    kernel(x[i], x[j])
                    + kernel(y[i], y[j])
                    - kernel(x[i], y[j])
                    - kernel(y[i], x[j])
                    for i in np.flatnonzero(prompts == c)
                    for j in np.flatnonzero(prompts == other)
                ]
                blocks.append(np.mean(terms))
    found = paired_cmmd(x, y, prompts)
    assert found.value == pytest.approx(1000 * np.mean(blocks), rel=1e-9)
    assert found.low < found.value < found.high


def test_its_authors_number_is_the_mean_over_all_pairs() -> None:
    x, y = rows(0, 5), rows(1, 7, shift=1)
    means = [
        np.mean([kernel(a, b) for a in left for b in right])
        for left, right in ((x, x), (y, y), (x, y))
    ]
    expected = 1000 * (means[0] + means[1] - 2 * means[2])
    assert cmmd_with_same(x, y) == pytest.approx(expected, rel=1e-9)
    assert cmmd_with_same(x, x) == 0


def test_blocks_of_rows_change_nothing(monkeypatch: pytest.MonkeyPatch) -> None:
    x, y, prompts = rows(0, 30), rows(1, 30), np.arange(30) // 3
    whole, same = paired_cmmd(x, y, prompts), cmmd_with_same(x, y)
    smaller = partial(row_blocks, size=7)
    monkeypatch.setattr("varbench.metrics.kernel_distance.row_blocks", smaller)
    assert paired_cmmd(x, y, prompts).value == pytest.approx(whole.value, rel=1e-12)
    assert cmmd_with_same(x, y) == pytest.approx(same, rel=1e-12)


def test_for_independent_rows_it_is_the_unbiased_estimate_and_nearly_linear() -> None:
    x, y = rows(0, 600), rows(1, 600, shift=0.6)
    ours = paired_cmmd(x, y, np.arange(600)).value
    kxx, kyy, kxy = (
        np.exp(-((a[:, None] - b[None]) ** 2).sum(axis=2) / 200)
        for a, b in ((x, x), (y, y), (x, y))
    )
    off = 600 * 599
    unbiased = (kxx.sum() - 600) / off + (kyy.sum() - 600) / off - 2 * kxy.mean()
    assert ours == pytest.approx(1000 * unbiased, rel=0.02)
    linear = 10 * ((x.mean(axis=0) - y.mean(axis=0)) ** 2).sum()
    assert cmmd_with_same(x, y) == pytest.approx(linear, rel=0.05)


def test_it_is_unbiased_for_coupled_rows_and_its_authors_number_is_not() -> None:
    ours, theirs = [], []
    for seed in range(200):
        x, fresh = rows(2 * seed, 30), rows(2 * seed + 1, 30)
        y = x.copy()
        y[::2] = fresh[::2]  # every other image is redrawn from the same distribution
        ours.append(paired_cmmd(x, y, np.arange(30)).value)
        theirs.append(cmmd_with_same(x, y))
    error = np.std(ours) / np.sqrt(200)
    assert abs(np.mean(ours)) < 3 * error
    assert min(ours) < 0 < max(ours)
    # Half of the counterparts are independent: 2000 (1 - mean k) / n with k of half of them.
    spread = np.mean([1 - kernel(a, b) for a, b in zip(rows(0, 500), rows(1, 500), strict=True)])
    assert np.mean(theirs) == pytest.approx(2000 * spread / 2 / 30, rel=0.1)


def test_cmmd_reads_clips_images_of_its_groups_only() -> None:
    method, base = world(1), world(2)
    pair = metric_inputs(method, base).paired("neighbours", "unrelated")
    images = [side.array("clip", "image") for side in (pair.method, pair.base)]
    measured = value("cmmd", metric_inputs(method, base))
    assert measured.value == paired_cmmd(images[0], images[1], pair.base.clusters).value
    assert measured.details["with_same"] == cmmd_with_same(images[0], images[1])
    coco = value("cmmd_coco", metric_inputs(method, base))
    assert coco.value != measured.value
    assert value("cmmd_coco", metric_inputs(method | {"coco": base["coco"]}, base)).value == 0
    without = {name: one for name, one in base.items() if name != "coco"}
    assert "no pictures of coco" in METRICS["cmmd_coco"].compute(metric_inputs(without)).note


def test_cmmd_sees_a_shift_beyond_chance() -> None:
    prompts = [Prompt(str(j), f"{j:02d}") for j in range(40)]
    base = {"unrelated": group(prompts, image=rows(0, 40))}
    moved = {"unrelated": group(prompts, image=rows(0, 40, shift=1))}
    again = {"unrelated": group(prompts, image=rows(1, 40))}
    shifted, same = (
        value("cmmd", metric_inputs(moved, base)),
        value("cmmd", metric_inputs(again, base)),
    )
    assert shifted.low is not None and shifted.low > 0
    assert same.low is not None and same.high is not None
    assert same.low < 0 < same.high
    assert number(shifted) > number(same)
