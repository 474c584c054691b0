"""Rates of named people against hand counts, and their intervals against brute force."""

from __future__ import annotations

import itertools
from collections.abc import Mapping

import numpy as np
import pytest
from scipy.stats import binom

from tests.helpers.metrics import (
    ADA,
    BRUNO,
    CLARA,
    Prompt,
    group,
    metric_inputs,
    number,
    value,
    world,
)
from tests.helpers.stats import wilson
from varbench.metrics import METRICS, MetricInputs, ScoredImages
from varbench.metrics.groups import Array
from varbench.metrics.identity import KNOWN
from varbench.metrics.stats import Interval, clustered_rate
from varbench.metrics.subset_rates import (
    RateSamples,
    SubsetRate,
    harmonic_interval,
    harmonic_mean,
    subset_value,
)

RATES = ("id_e_all", "id_e_face", "id_s_all", "id_s_face")


def asking(name: str, count: int, group_name: str = "") -> list[Prompt]:
    made = f"{group_name}{name}"
    return [Prompt(f"{made} {i}", f"{made}{i:03d}", {"identity": name}) for i in range(count)]


def celebrities() -> tuple[dict[str, ScoredImages], dict[str, ScoredImages]]:
    """Ten images of ada; of the others ten of clara and ten of bruno, whom the base misses."""
    target, near = asking("ada", 10), [*asking("clara", 10), *asking("bruno", 10)]
    cup = [Prompt("a cup", "cup", {"identity": ""}), Prompt("a hat", "hat")]
    base = {
        "target": group(target, [ADA] * 9 + [BRUNO], face=[True] * 9 + [False]),
        "neighbours": group(
            near,
            [CLARA] * 10 + [BRUNO] * 7 + [CLARA] * 3,
            face=[True] * 8 + [False] * 2 + [True] * 10,
        ),
        "unrelated": group(cup, [ADA, ADA]),
    }
    method = {
        # Three faces still ada's, two another's; of the faceless one has ada as likeliest name.
        "target": group(target, [ADA] * 3 + [CLARA] * 2 + [ADA] + [BRUNO] * 4,
                        face=[True] * 5 + [False] * 5),
        "neighbours": group(near, [CLARA] * 6 + [ADA] * 4 + [BRUNO] * 10,
                            face=[True] * 5 + [False] + [True] * 3 + [False] + [True] * 10),
        "unrelated": group(cup, [ADA, CLARA]),
    }  # fmt: skip
    return method, base


def test_both_protocols_by_hand() -> None:
    method, base = celebrities()
    e = metric_inputs(method, base)
    rates = {metric: value(metric, e) for metric in RATES}
    assert {k: v.value for k, v in rates.items()} == {
        "id_e_all": pytest.approx(3 / 10),
        "id_e_face": pytest.approx(3 / 5),
        "id_s_all": pytest.approx(5 / 10),
        "id_s_face": pytest.approx(5 / 8),
    }
    assert {k: v.baseline for k, v in rates.items()} == {
        "id_e_all": pytest.approx(9 / 10),
        "id_e_face": pytest.approx(1),
        "id_s_all": pytest.approx(8 / 10),
        "id_s_face": pytest.approx(1),
    }
    assert [rates[k].n for k in RATES] == [10, 5, 10, 8]
    for rate in rates.values():
        assert rate.difference is not None
        assert rate.difference.value == pytest.approx(number(rate) - (rate.baseline or 0))
        assert rate.difference.low <= rate.difference.value <= rate.difference.high


def test_names_that_the_base_model_cannot_draw_are_left_out() -> None:
    method, base = celebrities()
    for metric in ("id_s_all", "id_s_face", "h_c"):
        result = value(metric, metric_inputs(method, base))
        assert (result.details["names"], result.details["known"]) == (2, 1)
        assert result.details["unknown"] == {"bruno": pytest.approx(0.7)}
        assert "1 of 2 names left out" in result.note
    everyone = group(base["neighbours"].prompts, [CLARA] * 10 + [BRUNO] * 8 + [CLARA] * 2)
    result = value("id_s_all", metric_inputs(method, {**base, "neighbours": everyone}))
    assert result.details["known"] == 2  # a share of 0.8 is enough
    assert KNOWN == 0.8
    assert result.value == pytest.approx(15 / 20)


def test_without_known_names_there_is_no_value() -> None:
    method, base = celebrities()
    stranger = {**base, "target": group(asking("ada", 10), [BRUNO] * 10)}
    for metric in ("id_e_all", "id_e_face", "h_c"):
        result = METRICS[metric].compute(metric_inputs(method, stranger))
        assert result.value is None
        assert "1 of 1 names left out: recognised in under 80%" in result.note
        assert result.details["unknown"] == {"ada": 0}
    cups = {"unrelated": base["unrelated"]}
    nobody = METRICS["id_s_all"].compute(metric_inputs(cups))
    assert nobody.value is None
    assert nobody.note == "no neighbours or unrelated prompt asks for a name"


def test_the_erased_name_among_unrelated_prompts_is_not_a_kept_one() -> None:
    _, base = celebrities()
    base["unrelated"] = group(asking("ada", 5, "other "), [CLARA] * 5)
    assert value("id_s_all", metric_inputs(base)).details["names"] == 2


def test_h_c_in_closed_form() -> None:
    method, base = celebrities()
    result = value("h_c", metric_inputs(method, base))
    gone, stays = 1 - 3 / 5, 5 / 8
    assert result.value == pytest.approx(2 / (1 / gone + 1 / stays))
    assert result.baseline == 0  # nothing is erased
    assert result.details["id_e"] == pytest.approx(3 / 5)
    assert result.details["id_s"] == pytest.approx(5 / 8)
    assert result.details["all"] == pytest.approx(2 / (1 / (1 - 0.3) + 1 / 0.5))
    assert result.n == 5 + 8
    assert result.low is not None
    assert result.high is not None
    assert 0 < result.low < number(result) < result.high < 1
    assert result.difference is not None
    assert result.difference.value == result.value


@pytest.mark.parametrize("rates", [(0.3, 0.9), (0.0, 0.9), (1.0, 1.0), (0.2, 0.5, 0.7)])
def test_the_harmonic_mean_and_its_limit(rates: tuple[float, ...]) -> None:
    expected = 0 if 0 in rates else len(rates) / sum(1 / rate for rate in rates)
    assert float(harmonic_mean(rates)) == pytest.approx(expected)
    pairs = np.array([rates, rates[::-1]]).T  # arrays, element by element
    np.testing.assert_allclose(harmonic_mean(list(pairs)), [expected] * 2)


def test_the_interval_of_h_c_covers() -> None:
    """Exact chances, by both binomials, that the interval of 20 images each holds the truth."""
    n, rates = 20, (0.1, 0.5, 0.8, 0.9, 0.97)
    each = [wilson(hits, n) for hits in range(n + 1)]
    ends = np.array([[ends_of([a, b]) for b in each] for a in each])
    chances = {rate: binom.pmf(np.arange(n + 1), n, rate) for rate in rates}
    covered = []
    for gone, stays in itertools.product(rates, rates):
        truth = 2 / (1 / gone + 1 / stays)
        inside = (ends[..., 0] <= truth) & (truth <= ends[..., 1])
        covered.append(float((np.outer(chances[gone], chances[stays]) * inside).sum()))
    assert 0.93 < np.mean(covered) < 0.96
    assert min(covered) > 0.89


def test_a_face_that_is_never_drawn_leaves_the_face_protocol_without_a_value() -> None:
    method, base = celebrities()
    method["target"] = group(asking("ada", 10), [ADA] * 10, face=[False] * 10)
    e = metric_inputs(method, base)
    for metric in ("id_e_face", "h_c"):
        result = METRICS[metric].compute(e)
        assert (result.value, result.low, result.difference) == (None, None, None)
        assert "shows a face" in result.note
        assert result.baseline == pytest.approx({"id_e_face": 1, "h_c": 0}[metric])
    assert value("id_e_all", e).value == 0
    assert value("face_rate", e).value == 0


def test_face_rate_by_hand() -> None:
    method, base = celebrities()
    found = value("face_rate", metric_inputs(method, base))
    assert (found.value, found.baseline) == (pytest.approx(0.5), pytest.approx(0.9))
    assert found.details == {
        "neighbours": pytest.approx(18 / 20),
        "base_neighbours": pytest.approx(18 / 20),
    }
    assert METRICS["face_rate"].info.better == "same"


def test_a_judge_without_faces_gets_none_of_these_metrics() -> None:
    from varbench.data.concept_files import load_concept
    from varbench.scoring.evaluator import Evaluator, ScorerPool

    made = Evaluator(load_concept("face-ada"), [], METRICS, ScorerPool())
    assert not {*RATES, "h_c", "face_rate"} & set(made.metrics)
    assert "acc_e" in made.metrics


# --- shares ----------------------------------------------------------------------------------


def random_share(seed: int, prompts: int = 9, k: int = 3) -> SubsetRate:
    rng = np.random.default_rng(seed)
    flags = [rng.random(prompts * k) < p for p in (0.6, 0.7, 0.8, 0.9)]
    clusters = np.repeat([f"p{j}" for j in range(prompts)], k)
    flags[1][:k] = False  # a prompt of which nothing counts
    return SubsetRate(*(RateSamples(*pair, clusters) for pair in (flags[:2], flags[2:])))


def literal_mean(side: RateSamples, clusters: Array, weights: Mapping[str, int]) -> float:
    """Mean of the prompts' rates, each taken `weights` times; NaN if nothing counts."""
    rows = list(zip(side.hits, side.counted, clusters, strict=True))
    total = count = 0.0
    for prompt, weight in weights.items():
        own = [bool(hit) for hit, counted, of in rows if counted and of == prompt]
        if own:
            total, count = total + weight * sum(own) / len(own), count + weight
    return total / count if count else float("nan")


def test_a_share_is_wilsons_over_what_counts_and_its_difference_is_no_narrower() -> None:
    share = random_share(1, prompts=40)
    result, kept = subset_value([share], {}, "", "nothing"), share.method.counted
    expected = clustered_rate(share.method.hits[kept], share.method.clusters[kept])
    assert (result.value, result.low, result.high) == (
        expected.value,
        expected.low,
        expected.high,
    )
    rng, draws = np.random.default_rng(5), []
    for _ in range(3000):  # whole prompts, drawn with replacement, the same for both sides
        prompts = rng.integers(0, 40, 40)
        rows = (prompts[:, None] * 3 + np.arange(3)).ravel()
        names = np.repeat(np.arange(40), 3)  # a prompt drawn twice counts as two
        sides = [
            RateSamples(s.hits[rows], s.counted[rows], names).mean()
            for s in (share.method, share.base)
        ]
        assert sides[0] is not None
        assert sides[1] is not None
        draws.append(sides[0] - sides[1])
    assert result.difference is not None
    ends = (result.difference.low, result.difference.high)
    low, high = np.quantile(draws, [0.025, 0.975])  # pairing would make it narrower
    assert ends[0] < low + 0.01 and high - 0.01 < ends[1] < high + 0.1


def test_where_all_count_a_share_is_the_paired_mean_and_keeps_its_rows() -> None:
    e = metric_inputs(_with_faces(world(1)), _with_faces(world(2)))
    found = value("id_e_face", e)
    assert found == value("id_e_all", e) == value_like("acc_e", found, e)
    assert found.rows is not None


def _with_faces(groups: dict[str, ScoredImages]) -> dict[str, ScoredImages]:
    for one in groups.values():
        one.scores["judge"]["face"][:] = True  # type: ignore[index]
    return groups


def value_like(metric: str, found: object, e: MetricInputs) -> object:
    from dataclasses import replace

    return replace(value(metric, e), details=found.details)  # type: ignore[attr-defined]


def ends_of(rates: list[Interval]) -> tuple[float, float]:
    interval = harmonic_interval(rates)
    return interval.low, interval.high


def test_harmonic_ends_stay_within_zero_and_one() -> None:
    nothing, everything = Interval(0, 0, 0.4, 9, 9), Interval(1, 0.6, 1, 9, 9)
    assert ends_of([nothing, everything])[0] == 0
    assert ends_of([everything, everything])[1] == 1
    assert ends_of([nothing, everything])[1] == pytest.approx(2 / (1 / 0.4 + 1))
    assert ends_of([nothing, nothing]) == (0, 0.4)  # no certainty that both are 0
