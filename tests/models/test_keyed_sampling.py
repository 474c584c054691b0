"""Random numbers depend on their key alone; filters and draws agree with brute force."""

from __future__ import annotations

import numpy as np
import pytest
import torch
from scipy import stats

from varbench.data.prompt import prompt_id
from varbench.models.common import keyed_random
from varbench.models.common.keyed_random import stream, uniforms
from varbench.models.common.sampling import draw, filter_probabilities

LENGTHS = (8, 3, 5, 1, 8, 2, 6)
KEYS = [(prompt_id(f"prompt {i}"), i % 3) for i in range(len(LENGTHS))]
CPU = torch.device("cpu")


# -- keyed random numbers ---------------------------------------------------------------------


def splitmix(prompt: str, seed: int, scale: int, index: int) -> float:
    """The documented generator in plain Python integers."""
    mask = (1 << 64) - 1
    x = (stream(prompt, seed, scale) + (index + 1) * 0x9E3779B97F4A7C15) & mask
    x = ((x ^ (x >> 30)) * 0xBF58476D1CE4E5B9) & mask
    x = ((x ^ (x >> 27)) * 0x94D049BB133111EB) & mask
    return (((x ^ (x >> 31)) >> 41) + 0.5) / 2**23


def test_frozen_numbers() -> None:
    """These must never change, on any platform: stored images depend on them."""
    actual = uniforms([("0123456789abcdef", 7), ("fedcba9876543210", 0)], 3, 2, 3, CPU)
    assert (actual.double() * 2**24).long().flatten().tolist() == [
        3256231,
        11129045,
        639759,
        16166239,
        12318831,
        13188949,
        4044695,
        14828155,
        3094719,
        10064093,
        7487755,
        7456259,
    ]


def test_numbers_follow_the_documented_generator() -> None:
    actual = uniforms(KEYS[:2], 4, 5, 3, CPU)
    for row, (prompt, seed) in enumerate(KEYS[:2]):
        for index in range(15):
            expected = splitmix(prompt, seed, 4, index)
            assert float(actual[row].flatten()[index]) == expected


def test_numbers_depend_on_their_key_alone() -> None:
    whole = uniforms(KEYS, 2, 16, 6, CPU)
    assert whole.shape == (len(KEYS), 16, 6)
    assert whole.dtype == torch.float32
    for order in ([3], [6, 0, 3], list(range(6, -1, -1)), [2, 2]):
        part = uniforms([KEYS[i] for i in order], 2, 16, 6, CPU)
        assert torch.equal(part, whole[order])
    # The beginning of a longer scale has the same numbers.
    assert torch.equal(uniforms(KEYS, 2, 10, 6, CPU), whole[:, :10])


def test_every_part_of_the_key_counts() -> None:
    base = uniforms([("aa", 1)], 2, 64, 1, CPU)
    for key, scale in ((("ab", 1), 2), (("aa", 2), 2), (("aa", 1), 3), (("aa", 12), 2)):
        assert not torch.isclose(base, uniforms([key], scale, 64, 1, CPU)).any(1).all()


def test_numbers_are_uniform_and_independent() -> None:
    keys = [(prompt_id(f"p{i // 4}"), i % 4) for i in range(40)]
    numbers = torch.cat([uniforms(keys, s, 64, 32, CPU).flatten(1) for s in range(2)], dim=1)
    x = numbers.double().numpy()
    n = x.size
    assert abs(x.mean() - 0.5) < 4 / np.sqrt(12 * n)
    assert abs(x.var() - 1 / 12) < 4 / np.sqrt(180 * n)
    assert stats.kstest(x.ravel(), "uniform").pvalue > 1e-3
    for lag in (1, 2, 31, 32, 33):
        serial = np.corrcoef(x[:, :-lag].ravel(), x[:, lag:].ravel())[0, 1]
        assert abs(serial) < 4 / np.sqrt(n - lag * len(x))
    between = np.corrcoef(x)[np.triu_indices(len(x), 1)] * np.sqrt(x.shape[1])
    assert np.abs(between).max() < 5
    lowest = (numbers.double() * 2**23).long().numpy().ravel() % 16
    assert stats.chisquare(np.bincount(lowest, minlength=16)).pvalue > 1e-3


@pytest.mark.parametrize("raw", [0, -1])
def test_the_extremes_stay_inside(monkeypatch: pytest.MonkeyPatch, raw: int) -> None:
    """The smallest and largest raw numbers become neither 0 nor 1 in float32."""
    monkeypatch.setattr(keyed_random, "_mix", lambda x: torch.full_like(x, raw))
    actual = float(uniforms(KEYS[:1], 0, 1, 1, CPU))
    assert 0 < actual < 1
    assert actual == (2**-24 if raw == 0 else 1 - 2**-24)


def test_prompt_ids() -> None:
    assert prompt_id("caf\u00e9") == prompt_id("cafe\u0301")
    assert prompt_id("a") != prompt_id("A")
    assert len(prompt_id("")) == 16


# -- filters and draws ------------------------------------------------------------------------


def brute_filter(logits: list[float], top_k: int, top_p: float) -> np.ndarray:
    x = np.array(logits, dtype=np.float64)
    keep = np.ones(len(x), dtype=bool)
    if 0 < top_k < len(x):
        keep = x >= np.sort(x)[-top_k]
    p = np.where(keep, np.exp(x - x.max()), 0)
    p /= p.sum()
    if 0 < top_p < 1:
        total = 0.0
        for i in np.argsort(p)[:-1]:
            total += p[i]
            if total <= 1 - top_p:
                keep[i] = False
    p = np.where(keep, p, 0)
    return np.asarray(p / p.sum())


@pytest.mark.parametrize("values", [2, 5])
@pytest.mark.parametrize(
    ("top_k", "top_p"),
    [(0, 0.0), (0, 1.0), (1, 0.0), (900, 0.97), (0, 0.6), (2, 0.0), (3, 0.8), (1, 0.5), (4, 0.05)],
)
def test_filter_against_brute_force(values: int, top_k: int, top_p: float) -> None:
    generator = torch.Generator().manual_seed(values)
    logits = 2 * torch.randn(3, 40, values, generator=generator)
    actual = filter_probabilities(logits, top_k, top_p)
    for mine, row in zip(actual.view(-1, values), logits.view(-1, values), strict=True):
        expected = brute_filter(row.tolist(), top_k, top_p)
        assert np.abs(mine.double().numpy() - expected).max() < 1e-6
    assert torch.equal(actual.argmax(-1), logits.argmax(-1))


def test_filter_makes_rare_bits_certain() -> None:
    for p, certain in ((0.0299, True), (0.0301, False)):
        logits = torch.tensor([np.log(p), np.log(1 - p)])
        assert (float(filter_probabilities(logits, 0, 0.97)[0]) == 0.0) is certain


@pytest.mark.parametrize("values", [2, 5])
def test_draw_against_brute_force(values: int) -> None:
    generator = torch.Generator().manual_seed(values)
    logits = torch.randn(2, 50, 3, values, generator=generator)
    probabilities = filter_probabilities(logits, 0, 0.8)
    numbers = torch.rand(2, 50, 3, generator=generator)
    actual = draw(probabilities, numbers)
    assert actual.shape == numbers.shape
    flat = zip(
        probabilities.view(-1, values).tolist(),
        numbers.flatten().tolist(),
        actual.flatten().tolist(),
        strict=True,
    )
    for p, u, symbol in flat:
        if values == 2:
            assert symbol == int(u < p[1])
        else:
            assert symbol == next(i for i in range(values) if sum(p[: i + 1]) > u)


def test_draw_follows_the_probabilities() -> None:
    for p in ([0.2, 0.8], [0.1, 0.0, 0.4, 0.3, 0.2]):
        numbers = uniforms([("draw", 0)], 0, 20_000, 1, CPU)
        actual = draw(torch.tensor(p).expand(1, 20_000, 1, len(p)), numbers).flatten()
        count = np.bincount(actual.numpy(), minlength=len(p))
        retained = np.array(p) > 0
        assert not count[~retained].any()
        assert stats.chisquare(count[retained], 20_000 * np.array(p)[retained]).pvalue > 1e-3


@pytest.mark.parametrize("u", [2.0**-24, 1 - 2.0**-24])
def test_filtered_values_are_never_drawn(u: float) -> None:
    """Even where float32 probabilities sum to less than the largest uniform number."""
    generator = torch.Generator().manual_seed(0)
    logits = torch.randn(1, 2000, 1, 7, generator=generator)
    logits[..., 6] = logits[..., 0] = -torch.inf
    probabilities = filter_probabilities(logits, 0, 0.9)
    actual = draw(probabilities * 0.9999, torch.full((1, 2000, 1), u))
    assert (probabilities.gather(-1, actual[..., None]) > 0).all()
    certain = torch.tensor([[0.0, 1.0], [1.0, 0.0]]).view(1, 2, 1, 2)
    assert draw(certain, torch.full((1, 2, 1), u)).flatten().tolist() == [1, 0]
