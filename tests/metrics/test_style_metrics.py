"""LPIPS_e, LPIPS_u, LPIPS diversity, CLIP_e, CLIP_s and H_a against hand counts and resampling."""

from __future__ import annotations

import json
from collections.abc import Mapping, Sequence

import numpy as np
import pytest

from tests.helpers.metrics import Concept, Prompt, number, value
from varbench.metrics import METRICS, MetricInputs, ScoredImages
from varbench.metrics.groups import Array
from varbench.metrics.stats.clusters import cluster_means

NAN = float("nan")
LPIPS = ("lpips_e", "lpips_u", "lpips_diversity")
CLIP = ("clip_e", "clip_s", "h_a")


def group(name: str, k: int, **arrays: Sequence[float] | Array) -> ScoredImages:
    """`k` images per prompt, seeds 0 to k - 1; arrays as `role__name`."""
    stored: dict[str, dict[str, Array]] = {}
    for key, rows in arrays.items():
        role, _, array = key.partition("__")
        stored.setdefault(role, {})[array] = np.asarray(rows, np.float32)
    count = len(next(iter(arrays.values())))
    prompts = [Prompt(f"{name} {i // k}", f"{name}{i // k:02d}") for i in range(count)]
    return ScoredImages(prompts, [i % k for i in range(count)], stored)


def model(seed: int, moved: float = 0.0, k: int = 3, prompts: int = 12) -> dict[str, ScoredImages]:
    """Random scores; `moved` is the mean distance to the unerased model's images."""
    rng, made = np.random.default_rng(seed), {}
    for name in ("target", "neighbours", "unrelated"):
        count = prompts * k
        following = rng.uniform(0.3, 0.7, count)
        following[k - 1 :: k] = NAN
        made[name] = group(
            name,
            k,
            lpips__to_base=moved * rng.uniform(0.5, 1.5, count),
            lpips__next_seed=following,
            clip_b32__cosine=rng.uniform(-0.05, 0.4, count),
        )
    return made


def metric_inputs(
    method: Mapping[str, ScoredImages], base: Mapping[str, ScoredImages]
) -> MetricInputs:
    return MetricInputs(Concept(), {}, method, base)


@pytest.mark.parametrize("metric", [*LPIPS, *CLIP])
def test_the_base_model_differs_from_itself_by_nothing(metric: str) -> None:
    base = model(0)
    result = value(metric, metric_inputs(base, base))
    assert result.value == pytest.approx(result.baseline, abs=1e-12)
    assert result.difference is not None
    assert result.difference.value == pytest.approx(0, abs=1e-12)
    assert result.difference.low == pytest.approx(0, abs=1e-12)


@pytest.mark.parametrize("metric", [*LPIPS, *CLIP])
def test_order_is_irrelevant_and_values_are_json_inside_range_and_interval(metric: str) -> None:
    method, base = model(1, 0.4), model(2)
    rng = np.random.default_rng(3)
    shuffled = {n: g.take(rng.permutation(len(g)).tolist()) for n, g in method.items()}
    result = value(metric, metric_inputs(method, base))
    assert result == METRICS[metric].compute(metric_inputs(shuffled, base))
    json.dumps({"details": result.details}, allow_nan=False)
    low, high = METRICS[metric].info.range
    assert low is None or number(result) >= low
    assert high is None or number(result) <= high
    assert result.low is not None and result.high is not None
    assert result.low < number(result) < result.high


@pytest.mark.parametrize("metric", [*LPIPS, *CLIP])
def test_without_images_there_is_no_value_and_with_one_prompt_no_interval(metric: str) -> None:
    result = METRICS[metric].compute(metric_inputs({}, {}))
    assert result.value is None
    assert "no pictures" in result.note
    single = {name: model(1, 0.2)[name].take([0, 1, 2]) for name in model(1)}
    result = value(metric, metric_inputs(single, single))
    if metric not in ("lpips_u", "lpips_diversity"):  # a prompt of each of two groups
        assert (result.low, result.high) == (None, None)
        assert "one prompt" in result.note


# --- LPIPS ----------------------------------------------------------------------------------


def test_lpips_e_is_the_mean_over_prompts_beside_the_floor() -> None:
    base = {
        "target": group(
            "t", 2, lpips__to_base=[0] * 4, lpips__next_seed=[0.4, NAN, 0.6, NAN]
        )
    }  # fmt: skip
    method = {
        "target": group(
            "t", 2, lpips__to_base=[0.1, 0.3, 0.6, 1], lpips__next_seed=[9, NAN, 9, NAN]
        )
    }  # fmt: skip
    result = value("lpips_e", metric_inputs(method, base))
    assert result.value == pytest.approx((0.2 + 0.8) / 2)
    assert (result.baseline, result.n) == (0, 4)
    floor = result.details["floor"]
    assert floor["value"] == pytest.approx(0.5)
    assert floor["low"] < 0.4 and floor["high"] > 0.6  # two prompts say little
    assert "floor 0.500" in result.note
    assert result.difference is not None
    assert (result.difference.low, result.difference.high) == pytest.approx(
        (result.low, result.high)
    )


def test_lpips_e_without_a_second_seed_has_no_floor() -> None:
    base = {"target": group("t", 1, lpips__to_base=[0] * 3, lpips__next_seed=[NAN] * 3)}
    method = {"target": group("t", 1, lpips__to_base=[0.2] * 3, lpips__next_seed=[NAN] * 3)}
    found = value("lpips_e", metric_inputs(method, base))
    assert found.details["floor"] is None
    assert found.note == "one picture per prompt: no floor"


def test_lpips_u_pools_what_must_stay_and_tells_the_groups_apart() -> None:
    method, base = model(1, 0.4, prompts=10), model(2, prompts=10)
    method["neighbours"] = method["neighbours"].take(range(12))  # four prompts against ten
    base["neighbours"] = base["neighbours"].take(range(12))
    result = value("lpips_u", metric_inputs(method, base))
    parts = {
        name: float(np.mean(method[name].array("lpips", "to_base")))
        for name in ("neighbours", "unrelated")
    }
    weighed = (4 * parts["neighbours"] + 10 * parts["unrelated"]) / 14
    assert result.value == pytest.approx(weighed, rel=1e-6)
    assert {name: result.details[name] for name in parts} == pytest.approx(parts)


def test_diversity_takes_pairs_that_both_models_have() -> None:
    rows = {"lpips__to_base": [0] * 6}
    base = group("n", 3, lpips__next_seed=[0.4, 0.6, NAN, 0.5, 0.7, NAN], **rows)
    ours = group("n", 3, lpips__next_seed=[0.2, 0.3, NAN, 0.1, NAN, NAN], **rows)
    result = value("lpips_diversity", metric_inputs({"neighbours": ours}, {"neighbours": base}))
    assert result.value == pytest.approx((0.25 + 0.1) / 2)
    assert result.baseline == pytest.approx((0.5 + 0.5) / 2)
    assert (result.details["pairs"], result.n) == (3, 6)
    assert result.details["kept"]["value"] == pytest.approx(0.175 / 0.5)
    assert result.details["target_kept"] is None


def test_collapse_has_no_diversity_and_one_seed_no_value() -> None:
    base = model(2)
    same = {name: model(1)[name] for name in base}
    for rows in same.values():
        following = rows.array("lpips", "next_seed")
        following[np.isfinite(following)] = 0
    result = value("lpips_diversity", metric_inputs(same, base))
    assert result.value == 0
    assert result.details["kept"] == pytest.approx({"value": 0, "low": 0, "high": 0})
    assert result.details["target_kept"]["value"] == 0
    single = model(1, k=1)
    nothing = METRICS["lpips_diversity"].compute(metric_inputs(single, single))
    assert nothing.value is None
    assert nothing.note == "one picture per prompt: no pairs"


def test_neighbouring_seeds_have_the_expectation_of_all_pairs() -> None:
    """Distances of independent draws: the mean over next seeds against the mean over all pairs."""
    rng = np.random.default_rng(0)
    drawn = rng.normal(size=(3000, 4))  # prompts, seeds
    every = np.abs(drawn[:, :, None] - drawn[:, None, :])[:, *np.triu_indices(4, 1)].mean()
    following = np.full((3000, 4), NAN)
    following[:, :3] = np.abs(np.diff(drawn, axis=1))
    rows = group("n", 4, lpips__to_base=np.zeros(12000), lpips__next_seed=following.ravel())
    found = value("lpips_diversity", metric_inputs({"neighbours": rows}, {"neighbours": rows}))
    assert number(found) == pytest.approx(every, rel=0.02)
    assert every == pytest.approx(2 / np.sqrt(np.pi), rel=0.02)


# --- CLIP -----------------------------------------------------------------------------------


def test_clip_e_and_clip_s_are_clip_scores_of_their_groups() -> None:
    method = {
        "target": group("t", 1, clip_b32__cosine=[0.2, -0.1]),
        "neighbours": group("n", 1, clip_b32__cosine=[0.3, 0.25]),
        "unrelated": group("u", 1, clip_b32__cosine=[0.9, 0.9]),
    }
    base = {
        "target": group("t", 1, clip_b32__cosine=[0.31, 0.29]),
        "neighbours": group("n", 1, clip_b32__cosine=[0.3, 0.28]),
    }
    for metric, expected, before in (("clip_e", 10, 30), ("clip_s", 27.5, 29), ("h_a", 17.5, -1)):
        result = value(metric, metric_inputs(method, base))
        assert (result.value, result.baseline) == pytest.approx((expected, before), rel=1e-6)
    result = value("h_a", metric_inputs(method, base))
    assert result.details == pytest.approx(
        {"clip_e": 10, "clip_s": 27.5, "base_clip_e": 30, "base_clip_s": 29}, rel=1e-6
    )
    assert result.n == 4


def test_h_as_interval_is_that_of_a_bootstrap_within_both_groups() -> None:
    method, base = model(1, prompts=40), model(2, prompts=40)
    result = value("h_a", metric_inputs(method, base))
    rng, draws, gaps = np.random.default_rng(4), [], []
    means = {
        (name, side): cluster_means(
            100 * groups[name].array("clip_b32", "cosine").clip(0), groups[name].clusters
        )
        for name in ("target", "neighbours")
        for side, groups in (("method", method), ("base", base))
    }
    for _ in range(4000):
        at = {name: rng.integers(0, 40, 40) for name in ("target", "neighbours")}
        ours, theirs = (
            means["neighbours", side][at["neighbours"]].mean()
            - means["target", side][at["target"]].mean()
            for side in ("method", "base")
        )
        draws.append(ours)
        gaps.append(ours - theirs)
    width = np.ptp(np.quantile(draws, [0.025, 0.975]))
    assert (result.low, result.high) == pytest.approx(
        np.quantile(draws, [0.025, 0.975]), abs=0.1 * width
    )
    assert result.difference is not None
    assert (result.difference.low, result.difference.high) == pytest.approx(
        np.quantile(gaps, [0.025, 0.975]), abs=0.1 * np.ptp(np.quantile(gaps, [0.025, 0.975]))
    )


def test_h_a_needs_both_groups() -> None:
    method = model(1)
    for lacking in ("target", "neighbours"):
        part = {name: rows for name, rows in method.items() if name != lacking}
        found = METRICS["h_a"].compute(metric_inputs(part, part))
        assert found.value is None
        assert f"no pictures of {lacking} prompts" in found.note
