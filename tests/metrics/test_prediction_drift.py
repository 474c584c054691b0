"""LD1, LD2, LD3 and entropy: closed forms, hand counts, simulated draws, and where they are not."""

from __future__ import annotations

import math
from itertools import combinations

import numpy as np
import pytest

from tests.helpers.metrics import Prompt, group, metric_inputs, probe, unit, value, world
from varbench.metrics import METRICS, MetricInputs, MetricValue, ScoredImages, stats
from varbench.metrics.r_precision import chance_of_first
from varbench.metrics.stats import PairedSamples, estimate

PROBED = ("ld1", "ld2", "entropy")


def probed(method: dict[str, ScoredImages], base: dict[str, ScoredImages]) -> MetricInputs:
    plain = metric_inputs({})
    return MetricInputs(plain.concept, plain.judge_labels, {}, {}, None, method, base)


def group_of(**arrays: object) -> ScoredImages:
    made = {name: np.asarray(rows, dtype=float) for name, rows in arrays.items()}
    shape = next(iter(made.values())).shape
    every = dict.fromkeys(("kl", "kl_null", "flips", "strength", "entropy"), np.zeros(shape)) | made
    prompts = [Prompt(f"p{i}", f"p{i}") for i in range(shape[0])]
    return ScoredImages(prompts, [0] * shape[0], {"probe": every})


# --- the probe's metrics --------------------------------------------------------------------


@pytest.mark.parametrize("metric", PROBED)
def test_without_a_probe_there_is_no_value_and_the_reason_is_named(metric: str) -> None:
    nothing = METRICS[metric].compute(probed({}, {}))
    assert nothing.value is None and "suite.probe.prompts" in nothing.note
    sampling_only = METRICS[metric].compute(probed({}, probe(0)))
    assert sampling_only.value is None and "not applicable" in sampling_only.note


def test_every_scale_weighs_the_same_and_so_does_every_prompt() -> None:
    ours = group_of(
        kl=[[0.0, 0.3], [0.1, 0.0]],
        kl_null=[[1.0, 1.0], [2.0, 2.0]],
        flips=[[0.5, 0.0], [0.0, 0.1]],
    )
    measured = value(
        "ld1", probed({"neighbours": ours}, {"neighbours": group_of(kl=[[0, 0], [0, 0]])})
    )
    assert measured.value == pytest.approx((0.15 + 0.05) / 2)
    assert measured.baseline == 0
    assert measured.n == 2
    assert measured.details["scales"] == pytest.approx([0.05, 0.15])
    assert measured.details["null"] == pytest.approx(1.5)
    assert measured.details["flips"] == pytest.approx(0.15)
    assert measured.details["flips_scales"] == pytest.approx([0.25, 0.05])
    assert measured.details["neighbours"] == measured.value
    assert "unrelated" not in measured.details


def test_ld1_is_a_bootstrap_over_prompts_of_both_groups() -> None:
    ours, base = probe(1), probe(0)
    measured = value("ld1", probed(ours, base))
    rows = np.concatenate(
        [ours[n].array("probe", "kl").mean(1) for n in ("neighbours", "unrelated")]
    )
    expected = stats.clustered_mean(rows, np.arange(rows.size))
    assert (measured.value, measured.low, measured.high) == pytest.approx(
        (expected.value, expected.low, expected.high)
    )
    assert measured.difference is not None
    assert measured.difference.low == pytest.approx(measured.low)


def test_ld2_is_a_ratio_of_means_and_half_the_strength_is_one_half() -> None:
    base = probe(0)
    half = {
        name: ScoredImages(
            group.prompts,
            group.seeds,
            {"probe": {**group.scores["probe"], "strength": group.array("probe", "strength") / 2}},
        )
        for name, group in base.items()
    }
    measured = value("ld2", probed(half, base))
    assert (measured.value, measured.low, measured.high) == pytest.approx((0.5, 0.5, 0.5))
    assert measured.baseline == 1
    assert measured.difference is not None
    assert measured.difference.value == pytest.approx(-0.5)
    assert measured.details["scales"] == pytest.approx([0.5] * 3)
    ours = group_of(strength=[[1.0], [5.0]])
    uneven = value(
        "ld2", probed({"unrelated": ours}, {"unrelated": group_of(strength=[[2.0], [4.0]])})
    )
    assert uneven.value == pytest.approx(6 / 6)  # not the mean of 1/2 and 5/4


def test_a_model_that_ignores_the_text_has_no_ld2() -> None:
    deaf = {"neighbours": group_of(strength=[[0.0], [0.0]])}
    found = METRICS["ld2"].compute(probed(deaf, deaf))
    assert found.value is None and "does not listen" in found.note


def test_one_prompt_has_a_value_and_no_interval() -> None:
    one, base = group_of(strength=[[3.0]], kl=[[0.2]]), group_of(strength=[[2.0]], kl=[[0.0]])
    for metric, expected in (("ld1", 0.2), ("ld2", 1.5)):
        measured = value(metric, probed({"neighbours": one}, {"neighbours": base}))
        assert measured.value == pytest.approx(expected)
        assert (measured.low, measured.high, measured.difference) == (None, None, None)
        assert "one prompt" in measured.note


def test_ratios_of_several_seeds_are_pooled_by_prompt() -> None:
    clusters, base = np.array(["a", "b", "c"]), np.array([1.0, 2.0, 3.0])
    seeds = [PairedSamples("ratio", base * factor, base, clusters) for factor in (0.5, 1.0)]
    measured = estimate(seeds)
    assert measured is not None
    assert measured.value.value == pytest.approx(0.75)
    assert measured.value.low < 0.5 and measured.value.high > 1  # two edits that far apart
    assert measured.difference.value == pytest.approx(-0.25)
    assert estimate([PairedSamples("ratio", base, base * 0, clusters)]) is None


def test_entropy_tells_collapse_from_decay() -> None:
    base = {"neighbours": group_of(entropy=[[0.5, 0.3], [0.5, 0.3]])}
    for entropy, loss in (([[0.2, 0.2]] * 2, 0.5), ([[0.6, 0.6]] * 2, -0.5)):
        measured = value("entropy", probed({"neighbours": group_of(entropy=entropy)}, base))
        assert measured.baseline == pytest.approx(0.4)
        assert measured.details["loss"] == pytest.approx(loss)
        assert measured.difference is not None
        assert measured.difference.value == pytest.approx(-0.4 * loss)
        assert measured.details["base_scales"] == pytest.approx([0.5, 0.3])


# --- R-precision ----------------------------------------------------------------------------


def test_the_chance_to_be_first_is_a_count_of_subsets() -> None:
    """Against all subsets of 6 others, of which 4 are beaten."""
    for drawn in (1, 3, 4, 5):
        subsets = list(combinations(range(6), drawn))
        won = sum(all(i < 4 for i in subset) for subset in subsets) / len(subsets)
        assert chance_of_first(np.array([4]), np.array([6]), drawn) == pytest.approx(won)
    one = chance_of_first(np.array([150]), np.array([200]), 99)
    assert one == pytest.approx(math.comb(150, 99) / math.comb(200, 99))
    few = chance_of_first(np.array([5, 4]), np.array([5, 5]), 99)
    assert few.tolist() == [1, 0]  # fewer others than are drawn: all of them


def images(
    count: int, image: np.ndarray, labels: list[dict[str, str]] | None = None
) -> ScoredImages:
    """`count` prompts with captions of their own direction."""
    named = labels or [{}] * count
    prompts = [Prompt(f"p{i}", f"p{i:03d}", named[i]) for i in range(count)]
    return group(prompts, image=image, text=np.eye(count))


def ld3(method: ScoredImages, base: ScoredImages) -> MetricValue:
    return value("ld3", metric_inputs({"unrelated": method}, {"unrelated": base}))


def test_exact_captions_are_found_and_swapped_ones_are_not() -> None:
    base = images(120, np.eye(120))
    swapped = np.eye(120)
    swapped[[0, 1]] = swapped[[1, 0]]
    precision = ld3(images(120, swapped), base)
    assert precision.baseline == 1
    # Image 0 beats nothing but ties with all except caption 1, which is closer.
    assert precision.value == pytest.approx(118 / 120)
    assert precision.details["chance"] == 1 / 100
    assert precision.details["captions"] == 99
    assert precision.details["first"] == pytest.approx(118 / 120)


def test_it_is_the_mean_over_draws_of_ninety_nine_captions() -> None:
    rng = np.random.default_rng(0)
    image, count = unit(rng.normal(size=(150, 150)) + 2 * np.eye(150)), 150
    precision = ld3(images(count, image), images(count, np.eye(count)))
    wins = []
    for i in range(count):
        others = np.delete(np.arange(count), i)
        for _ in range(200):
            drawn = rng.choice(others, 99, replace=False)
            wins.append(image[i, i] > image[i, drawn].max())
    assert 0.05 < np.mean(wins) < 0.95
    assert precision.value == pytest.approx(np.mean(wins), abs=0.01)


def test_a_constant_shift_of_all_similarities_changes_nothing() -> None:
    rng = np.random.default_rng(1)
    text = unit(rng.normal(size=(110, 6)))
    prompts = [Prompt(f"p{i}", f"p{i:03d}") for i in range(110)]
    image = unit(text + 0.7 * rng.normal(size=text.shape))
    plain = ld3(group(prompts, image=image, text=text), group(prompts, image=image, text=text))
    # An axis that all captions share: every cosine rises by the same amount.
    wide_text = np.concatenate([text, np.ones((110, 1))], axis=1)
    wide = group(prompts, image=np.concatenate([image, np.full((110, 1), 0.3)], 1), text=wide_text)
    assert ld3(wide, wide).value == pytest.approx(plain.value)
    assert plain.value is not None and 0.05 < plain.value < 0.95


def test_a_collapsed_clip_finds_nothing_and_a_paraphrase_is_no_error() -> None:
    alike = np.ones((40, 3)) / math.sqrt(3)
    prompts = [Prompt(f"p{i}", f"p{i:03d}") for i in range(40)]
    collapsed = group(prompts, image=alike, text=alike)
    found = ld3(collapsed, collapsed)
    assert found.value == 0  # ties are lost
    assert "only 39 other captions" in found.note
    # Every caption has a twin that asks for the same; images lie nearer to the twin.
    labels = [{"object": f"o{i // 2}", "style": ""} for i in range(40)]
    twin = 0.6 * np.eye(40) + 0.8 * np.eye(40)[np.arange(40) ^ 1]
    assert ld3(images(40, twin, labels), images(40, np.eye(40), labels)).value == 1
    assert ld3(images(40, twin), images(40, np.eye(40))).value == 0


def test_captions_that_all_ask_for_the_same_leave_nothing_to_beat() -> None:
    same = images(4, np.eye(4), [{"style": "neon"}] * 4)
    found = METRICS["ld3"].compute(metric_inputs({"unrelated": same}))
    assert found.value is None and "something else" in found.note


def test_details_of_groups_add_up() -> None:
    found = value("ld3", metric_inputs(world(1), world(2)))
    assert found.value == pytest.approx(
        (found.details["neighbours"] + found.details["unrelated"]) / 2
    )
