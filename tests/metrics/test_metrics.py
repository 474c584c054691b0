"""The promises that all metrics keep, and rates and accuracies against hand counts."""

from __future__ import annotations

import json
import subprocess
import sys

import numpy as np
import pytest

from tests.helpers.metrics import (
    ADA,
    BRUNO,
    CLARA,
    LABELS,
    Concept,
    Judge,
    Prompt,
    group,
    metric_inputs,
    number,
    value,
    world,
)
from tests.helpers.stats import wilson
from varbench.metrics import METRICS, ScoredImages, concept_hits

# --- what every metric promises -------------------------------------------------------------


@pytest.mark.parametrize("metric", METRICS)
def test_the_base_model_differs_from_itself_by_nothing(metric: str) -> None:
    result = value(metric, metric_inputs(world(0))).recorded(METRICS[metric].info, of_base=True)
    assert result.value == pytest.approx(result.baseline, abs=1e-12)
    if result.difference is not None:
        ends = (result.difference.low, result.difference.value, result.difference.high)
        assert ends == pytest.approx((0, 0, 0), abs=1e-12)
    for name in ("ratio", "kept", "target_kept"):
        if name in result.details:
            assert result.details[name] == pytest.approx({"value": 1, "low": 1, "high": 1})


def test_an_interval_ends_where_the_value_can_go_no_further() -> None:
    info = METRICS["ld3"].info
    assert info.within(-0.1, 1.02) == (0.0, 1.0)
    assert METRICS["lpips_e"].info.within(None, 9.0) == (None, 9.0)


@pytest.mark.parametrize("metric", METRICS)
def test_the_order_of_images_is_irrelevant(metric: str) -> None:
    method, base = world(1), world(2)
    rng = np.random.default_rng(3)
    shuffled = {n: g.take(rng.permutation(len(g)).tolist()) for n, g in method.items()}
    assert METRICS[metric].compute(metric_inputs(method, base)) == METRICS[metric].compute(
        metric_inputs(shuffled, base)
    )


@pytest.mark.parametrize("metric", METRICS)
def test_values_are_json_within_range_and_inside_their_interval(metric: str) -> None:
    result = value(metric, metric_inputs(world(1), world(2)))
    json.dumps({"value": result.value, "n": result.n, "details": result.details}, allow_nan=False)
    low, high = METRICS[metric].info.range
    assert low is None or number(result) >= low
    assert high is None or number(result) <= high
    if result.low is not None and result.high is not None:
        assert result.low <= number(result) <= result.high
    else:
        assert result.note  # no number without its interval, or the reason


@pytest.mark.parametrize("metric", METRICS)
def test_an_empty_suite_has_a_note_and_no_value(metric: str) -> None:
    found = METRICS[metric].compute(metric_inputs({}))
    assert found.value is None
    assert found.note


@pytest.mark.parametrize("metric", METRICS)
def test_one_prompt_gives_a_value_without_interval_or_none(metric: str) -> None:
    result = METRICS[metric].compute(
        metric_inputs(world(1, prompts=1, k=40), world(2, prompts=1, k=40))
    )
    if metric not in ("kid_base", "kid_coco_base", "cmmd", "cmmd_coco"):  # need three prompts
        assert result.value is not None
    assert result.note or result.low is not None  # neighbours and unrelated are two prompts


def test_listing_metrics_needs_no_torch() -> None:
    code = "import sys, varbench.metrics; sys.exit('torch' in sys.modules)"
    assert subprocess.run([sys.executable, "-c", code], check=False).returncode == 0


# --- matching images ----------------------------------------------------------------------


def test_images_are_matched_by_prompt_and_seed_and_the_rest_is_counted() -> None:
    base = world(2)
    method = {n: g.take([i for i in range(len(g)) if i not in (3, 7)]) for n, g in base.items()}
    pair = metric_inputs(method, base).paired("neighbours", "unrelated")
    assert pair.dropped == 4
    assert [p.id for p in pair.method.prompts] == [p.id for p in pair.base.prompts]
    assert pair.method.seeds == pair.base.seeds
    same = pair.method.array("features", "features") == pair.base.array("features", "features")
    assert same.all()
    found = value("acc_n", metric_inputs(method, base))
    assert "2 pictures without a counterpart" in found.note
    assert found.n == 46


def test_a_prompt_in_two_groups_counts_once_and_an_image_twice_in_one_is_refused() -> None:
    images = group([Prompt("a", "a"), Prompt("b", "b")])
    inputs = metric_inputs({"neighbours": images, "unrelated": images})
    assert len(inputs.paired("neighbours", "unrelated")) == 2
    with pytest.raises(ValueError, match="twice"):
        metric_inputs({"neighbours": images.take([0, 1, 0])}).paired("neighbours")


def test_missing_scores_and_unknown_labels_name_the_fix() -> None:
    images = ScoredImages([Prompt("a", "a")], [0], {})
    with pytest.raises(ValueError, match="run the scorer 'judge'"):
        value("acc_e", metric_inputs({"target": images}))
    with pytest.raises(ValueError, match="no label 'zoe'; it knows: ada, bruno, clara"):
        concept_hits(images, Concept(judge=Judge(label="zoe")), LABELS)
    with pytest.raises(ValueError, match="no head 'mood'"):
        concept_hits(images, Concept(judge=Judge(head="mood")), LABELS)
    with pytest.raises(ValueError, match="differ in length"):
        ScoredImages([Prompt("a", "a")], [0, 1], {})


# --- erasure rate and accuracies ------------------------------------------------------------


def test_erasure_rate_by_hand() -> None:
    prompts = [Prompt(str(j), f"{j:02d}") for j in range(40)]
    base = group(prompts, [ADA] * 36 + [BRUNO] * 4)
    method = group(prompts, [ADA] * 6 + [BRUNO] * 32 + [ADA] * 2)
    result = value("erasure_rate", metric_inputs({"target": method}, {"target": base}))
    assert result.value == pytest.approx(1 - 8 / 36)
    assert result.baseline == 0
    assert result.details == {
        "hits": 8,
        "base_hits": 36,
        "conditional": pytest.approx(30 / 36),
        "new": pytest.approx(2 / 4),
    }
    assert "8 hits, 36 of the unerased model, 40 pictures" in result.note


def test_under_thirty_base_hits_there_is_no_erasure_rate_but_both_counts() -> None:
    prompts = [Prompt(str(j), f"{j:02d}") for j in range(40)]
    base = group(prompts, [ADA] * 29 + [BRUNO] * 11)
    method = group(prompts, [BRUNO] * 40)
    result = METRICS["erasure_rate"].compute(metric_inputs({"target": method}, {"target": base}))
    assert (result.value, result.low, result.high, result.difference) == (None,) * 4
    assert "under 30 hits" in result.note
    assert (result.details["hits"], result.details["base_hits"]) == (0, 29)
    assert value("acc_e", metric_inputs({"target": method}, {"target": base})).value == 0


def test_acc_e_is_wilson_for_one_image_per_prompt_and_wider_for_clusters() -> None:
    hits = [ADA] * 10 + [BRUNO] * 30
    single = group([Prompt(str(j), f"{j:02d}") for j in range(40)], hits)
    result, expected = value("acc_e", metric_inputs({"target": single})), wilson(10, 40)
    assert (result.value, result.low, result.high) == pytest.approx(
        (0.25, expected.low, expected.high)
    )
    alike = group([Prompt(str(j), f"{j:02d}") for j in range(10) for _ in range(4)], sorted(hits))
    clustered = value("acc_e", metric_inputs({"target": alike}))
    assert clustered.low is not None
    assert result.low is not None
    assert clustered.low < result.low


def test_acc_e_says_whether_the_rest_of_the_image_is_kept() -> None:
    labels = {"identity": "ada", "style": "neon"}
    prompts = [Prompt(str(j), f"{j}", labels) for j in range(4)]
    base = group(prompts, [ADA] * 4, [1] * 4)
    method = group(prompts, [BRUNO] * 4, [1, 0, 0, 1])
    found = value("acc_e", metric_inputs({"target": method}, {"target": base}))
    assert (found.value, found.baseline) == (0, 1)
    assert (found.details["others_kept"], found.details["base_others_kept"]) == (0.5, 1)


def test_acc_u_needs_every_attribute_of_its_prompt_and_nothing_else() -> None:
    prompts = [
        Prompt("clara neon", "a", {"identity": "clara", "style": "neon", "background": "beach"}),
        Prompt("clara", "b", {"identity": "clara", "style": ""}),
        Prompt("neon cup", "c", {"style": "neon", "object": "cup"}),
        Prompt("clara plain", "d", {"identity": "clara", "style": "plain"}),
        Prompt("a beach", "e", {"background": "beach"}),
    ]
    method = group(prompts, [CLARA, CLARA, ADA, ADA, ADA], [0, 1, 1, 0, 0])
    base = group(prompts, [CLARA, CLARA, ADA, CLARA, ADA], [1, 0, 1, 0, 0])
    result = value("acc_u", metric_inputs({"unrelated": method}, {"unrelated": base}))
    assert (result.value, result.baseline, result.n) == (0.5, 1.0, 4)  # right: b and c
    assert result.difference is not None
    assert result.difference.value == -0.5
    assert result.details["identity"] == pytest.approx(2 / 3)
    assert result.details["style"] == pytest.approx(2 / 3)
    assert result.details["base_style"] == 1
    assert result.details["asked"] == {"identity": 3, "style": 3}
    assert "1 pictures ask for nothing the judge knows" in result.note
    assert METRICS["acc_n"].compute(metric_inputs({"unrelated": method})).value is None
