"""Vendi score and pairwise distance against closed forms and brute force."""

from __future__ import annotations

import numpy as np
import pytest

from tests.helpers.metrics import Prompt, group, metric_inputs, value, world
from varbench.metrics import METRICS
from varbench.metrics.diversity import mean_distance, vendi_score

# --- diversity ------------------------------------------------------------------------------


@pytest.mark.parametrize(("n", "d"), [(3, 8), (8, 8), (4, 4)])
def test_vendi_counts_different_images(n: int, d: int) -> None:
    assert vendi_score(np.eye(n, d)) == pytest.approx(n)
    assert vendi_score(np.ones((n, d)) / np.sqrt(d)) == pytest.approx(1)
    twice = np.concatenate([np.eye(n, d)] * 5)  # more rows than columns: the d x d side
    assert vendi_score(twice) == pytest.approx(n)


def test_vendi_and_distance_by_brute_force() -> None:
    rows = np.random.default_rng(0).normal(size=(5, 3))
    rows /= np.linalg.norm(rows, axis=1, keepdims=True)
    values = np.linalg.eigvals(rows @ rows.T / 5).real
    values = values[values > 1e-10]
    assert vendi_score(rows) == pytest.approx(np.exp(-(values * np.log(values)).sum()))
    far = [np.linalg.norm(rows[i] - rows[j]) for i in range(5) for j in range(i)]
    assert mean_distance(rows) == pytest.approx(np.mean(far))


@pytest.mark.parametrize("metric", ["vendi", "pairwise_distance"])
@pytest.mark.parametrize("k", [2, 4])
def test_mode_collapse_is_detected(metric: str, k: int) -> None:
    base, method = world(2, k=k), {}
    for name, images in base.items():  # whatever the seed, a prompt's first image
        first = np.arange(len(images)) // k * k
        rows = images.array("features", "features")[first]
        method[name] = group(images.prompts, features=rows)  # type: ignore[arg-type]
    measured = value(metric, metric_inputs(method, base))
    assert measured.value == pytest.approx(METRICS[metric].info.range[0], abs=1e-6)
    assert measured.difference is not None
    assert measured.difference.high < -0.1
    for name in ("kept", "target_kept"):
        assert measured.details[name]["value"] == pytest.approx(0, abs=1e-6)
    assert measured.details["k"] == k


def test_partial_collapse_lies_between_and_one_image_for_all_prompts_shows_in_the_pool() -> None:
    base = world(2)
    half, all_same = {}, {}
    for name, images in base.items():
        rows = images.array("features", "features")
        mean = rows.reshape(-1, 4, 6).mean(axis=1).repeat(4, axis=0)
        half[name] = group(images.prompts, features=(rows + mean) / 2)  # type: ignore[arg-type]
        one = rows[:1].repeat(len(rows), axis=0)
        all_same[name] = group(images.prompts, features=one)  # type: ignore[arg-type]
    for metric in ("vendi", "pairwise_distance"):
        kept = value(metric, metric_inputs(half, base)).details["kept"]
        assert 0.1 < kept["low"] <= kept["high"] < 0.9
    found = value("vendi", metric_inputs(all_same, base))
    assert found.details["pool"] < 2.1 < found.details["base_pool"]


def test_one_image_per_prompt_pools_vendi_and_has_no_distance() -> None:
    e = metric_inputs(world(1, k=1), world(2, k=1))
    measured = value("vendi", e)
    assert measured.low is None
    assert "one picture per prompt" in measured.note
    assert measured.value == measured.details["pool"]
    assert "no pairs" in METRICS["pairwise_distance"].compute(e).note


def test_prompts_that_lost_images_are_left_out_and_blank_features_are_one_kind() -> None:
    base = world(2)
    method = {n: g.take(list(range(1, len(g)))) for n, g in base.items()}
    found = value("vendi", metric_inputs(method, base))
    assert "2 prompts with under 4 pictures left out" in found.note
    assert found.n == 22 * 4
    prompts = [Prompt("a", "a")] * 2 + [Prompt("b", "b")] * 2
    rows = np.array([[0, 0], [0, 0], [0, 0], [1, 0]], dtype=float)
    blank = value("vendi", metric_inputs({"unrelated": group(prompts, features=rows)}))
    assert blank.value == pytest.approx((1 + 2) / 2)
