"""Schedules and rotary positions of all aspect ratios agree with upstream's tables."""

from __future__ import annotations

import json
import math

import pytest
import torch

from tests.helpers.paths import DATA
from varbench.models.common.layers import rotate
from varbench.models.infinity.attention import positions, rope_tables
from varbench.models.infinity.schedules import (
    FULL_SCHEDULES,
    PIXEL_BUDGETS,
    full_grid,
    schedule_for,
)
from varbench.models.protocol import Schedule

INDICES: dict[str, list[list[list[int]]]] = json.loads(
    (DATA / "rope_mode2_indices.json").read_text()
)
"""Template -> per scale [positions of rows, positions of columns]."""

TOKENS = {  # portrait template -> tokens at 0.06M, 0.25M, 0.60M, 1M
    1.0: (521, 2521, 6425, 10521),
    1.25: (614, 2814, 6854, 10774),
    1.333: (665, 2657, 7085, 10973),
    1.5: (533, 2759, 6941, 10997),
    1.75: (472, 2628, 7220, 11252),
    2.0: (451, 2681, 7219, 11269),
    2.5: (555, 2555, 6805, 10805),
    3.0: (509, 2588, 7016, 11123),
}
PIXELS = {  # portrait template -> height x width at each pixel budget
    1.0: ((256, 256), (512, 512), (768, 768), (1024, 1024)),
    1.25: ((320, 256), (560, 448), (880, 704), (1120, 896)),
    1.333: ((320, 240), (576, 432), (960, 720), (1152, 864)),
    1.5: ((336, 224), (624, 416), (1008, 672), (1248, 832)),
    1.75: ((336, 192), (672, 384), (1120, 640), (1344, 768)),
    2.0: ((352, 176), (736, 368), (1184, 592), (1440, 720)),
    2.5: ((400, 160), (800, 320), (1280, 512), (1600, 640)),
    3.0: ((432, 144), (864, 288), (1440, 480), (1776, 592)),
}
INVERSE = {
    0.8: 1.25,
    0.75: 1.333,
    0.666: 1.5,
    0.571: 1.75,
    0.5: 2.0,
    0.4: 2.5,
    0.333: 3.0,
}


def test_fifteen_templates() -> None:
    assert sorted(FULL_SCHEDULES) == sorted([*TOKENS, *INVERSE])
    assert {float(name) for name in INDICES} == set(FULL_SCHEDULES)


@pytest.mark.parametrize("name", INDICES)
def test_positions_are_upstreams(name: str) -> None:
    grids = FULL_SCHEDULES[float(name)]
    full_h, full_w = grids[-1]
    assert len(grids) == len(INDICES[name]) == 13
    for (h, w), (y, x) in zip(grids, INDICES[name], strict=True):
        assert positions(h, full_h).tolist() == y
        assert positions(w, full_w).tolist() == x


@pytest.mark.parametrize("pn", PIXEL_BUDGETS)
@pytest.mark.parametrize("ratio", sorted(FULL_SCHEDULES))
def test_tokens_and_pixels(ratio: float, pn: str) -> None:
    schedule, place = schedule_for(pn, ratio), list(PIXEL_BUDGETS).index(pn)
    portrait = INVERSE.get(ratio, ratio)
    assert schedule.total == TOKENS[portrait][place]
    h, w = schedule.scales[-1]
    size = (16 * h, 16 * w)
    assert size == PIXELS[portrait][place][:: -1 if ratio in INVERSE else 1]
    assert full_grid(schedule) == FULL_SCHEDULES[ratio][-1]
    assert schedule.scales[:2] == ((1, 1), (2, 2))


@pytest.mark.parametrize("ratio", sorted(INVERSE))
def test_inverse_templates_swap_sides(ratio: float) -> None:
    swapped = tuple((w, h) for h, w in FULL_SCHEDULES[INVERSE[ratio]])
    assert FULL_SCHEDULES[ratio] == swapped


NEAREST = {1.0: 1.0, 1.1: 1.0, 832 / 1248: 0.666, 1248 / 832: 1.5, 9.0: 3.0, 0.01: 0.333}


@pytest.mark.parametrize("ratio", NEAREST)
def test_nearest_template(ratio: float) -> None:
    assert schedule_for("1M", ratio).scales == FULL_SCHEDULES[NEAREST[ratio]]


@pytest.mark.parametrize("pn", ["2M", "", "1m"])
def test_unknown_pixel_budget(pn: str) -> None:
    with pytest.raises(ValueError, match=r"0\.06M"):
        schedule_for(pn)


def test_full_grid_refuses_unknown_and_ambiguous_beginnings() -> None:
    with pytest.raises(ValueError, match="beginning"):
        full_grid(Schedule(((1, 1), (2, 2), (5, 5))))
    with pytest.raises(ValueError, match="beginning"):  # starts all templates
        full_grid(Schedule(((1, 1), (2, 2))))
    with pytest.raises(ValueError, match="beginning"):  # starts 1.25, 1.75 and their inverses
        full_grid(Schedule(((1, 1), (2, 2), (3, 3))))
    assert full_grid(Schedule(((1, 1), (2, 2), (4, 4)))) == (64, 64)


def test_tables_follow_the_formula_rows_first() -> None:
    """Element by element in double precision, on a portrait and a landscape schedule."""
    head = 16
    for ratio in (1.5, 0.666):
        schedule = schedule_for("0.06M", ratio)
        cos, sin = rope_tables(schedule, head)
        assert cos.shape == sin.shape == (schedule.total, head // 2)
        assert cos.dtype == torch.float32
        row = 0
        for (h, w), (ys, xs) in zip(schedule.scales, INDICES[str(ratio)], strict=False):
            for i in range(h):
                for j in range(w):
                    inverse = [10_000 ** (-2 * n / (head / 2)) for n in range(head // 4)]
                    angles = [ys[i] * v for v in inverse] + [xs[j] * v for v in inverse]
                    for n, angle in enumerate(angles):
                        assert abs(float(cos[row, n]) - math.cos(angle)) < 2e-5
                        assert abs(float(sin[row, n]) - math.sin(angle)) < 2e-5
                    row += 1
            if row > 60:
                break


def test_smaller_budgets_are_prefixes_of_larger_ones() -> None:
    for ratio in (1.0, 0.4):
        whole = rope_tables(schedule_for("0.60M", ratio), 8)
        part = rope_tables(schedule_for("0.06M", ratio), 8)
        for a, b in zip(part, whole, strict=True):
            assert torch.equal(a, b[: len(a)])


def test_rotation_turns_adjacent_pairs() -> None:
    x = torch.randn(2, 3, 5, 8)
    angle = torch.randn(5, 4)
    turned = rotate(x, angle.cos(), angle.sin())
    number = torch.view_as_complex(x.reshape(2, 3, 5, 4, 2))
    expected = torch.view_as_real(number * torch.polar(torch.ones(5, 4), angle)).flatten(-2)
    assert torch.allclose(turned, expected, atol=1e-6)
    assert torch.allclose(turned.norm(dim=-1), x.norm(dim=-1), atol=1e-5)
