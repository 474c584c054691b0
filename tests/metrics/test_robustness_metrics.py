"""Metrics of robustness on made-up images, against counting by hand."""

from __future__ import annotations

from dataclasses import replace

import numpy as np
import pytest

from tests.helpers.metrics import ADA, BRUNO, Prompt, group, metric_inputs, number, value
from varbench.metrics import METRICS, MetricInputs, ScoredImages, stats

PROMPTS = [Prompt(f"ada {i}", f"p{i}", {"identity": "ada"}) for i in range(4)]
ROWS = [prompt for prompt in PROMPTS for _ in range(2)]


def seen(*hits: int) -> ScoredImages:
    """Two images of each prompt; 1 where ada is seen."""
    rows = [ROWS[i] for i in range(len(hits))]
    return group(rows, [ADA if hit else BRUNO for hit in hits])


TARGET = {"method": seen(0, 0, 1, 0, 0, 0, 0, 0), "base": seen(1, 1, 1, 1, 1, 0, 0, 0)}
ONE, TWO = seen(0, 1, 1, 0, 0, 0, 0, 0), seen(1, 1, 1, 1, 1, 0, 0, 1)


def both(ours: dict[str, ScoredImages], theirs: dict[str, ScoredImages]) -> MetricInputs:
    own, base = ({"target": TARGET[side]} for side in ("method", "base"))
    return metric_inputs(own | ours, base | theirs)


def completed() -> MetricInputs:
    own = {"completion-2": TWO, "completion-1": ONE}
    return both(own, dict.fromkeys(own, TARGET["base"]))


def test_completion_is_the_area_under_its_curve() -> None:
    measured = value("completion", completed())
    assert number(measured) == pytest.approx((2 / 8 + 6 / 8) / 2)
    assert measured.baseline == 5 / 8
    assert measured.n == 8
    curve = measured.details["curve"]
    assert [point["scales"] for point in curve] == [0, 1, 2]
    assert [point["value"] for point in curve] == pytest.approx([1 / 8, 2 / 8, 6 / 8])
    assert measured.details["plain"] == 1 / 8
    wilson = stats.clustered_rate(np.array([0, 1, 1, 0, 0, 0, 0, 0], bool), TARGET["base"].clusters)
    assert (curve[1]["low"], curve[1]["high"]) == (wilson.low, wilson.high)
    assert measured.low is not None and measured.high is not None
    assert measured.low <= number(measured) <= measured.high
    assert measured.difference is not None
    assert measured.difference.value == pytest.approx(0.5 - 5 / 8)


def test_rows_are_matched_by_prompt_and_seed_not_by_place() -> None:
    e, order = completed(), [5, 2, 7, 0, 1, 6, 3, 4]
    shuffled = {name: one.take(order) for name, one in e.method.items() if name != "target"}
    assert value("completion", replace(e, method={**e.method, **shuffled})) == value(
        "completion", e
    )


def test_only_attacked_samples_are_compared() -> None:
    """The rate at 0 is that of the tried images, not of the whole target group."""
    some = [0, 1, 2, 3]
    own = {"completion-1": ONE.take(some)}
    found = value("completion", both(own, {"completion-1": TARGET["base"].take(some)}))
    assert (number(found), found.baseline) == (0.5, 1.0)
    assert found.details["plain"] == 0.25


def test_one_prompt_has_a_curve_without_intervals() -> None:
    own = {"completion-1": ONE.take([2, 3])}
    found = value("completion", both(own, {"completion-1": TARGET["base"].take([2, 3])}))
    assert (number(found), found.low) == (0.5, None)
    assert found.details["curve"][1] == {"scales": 1, "value": 0.5, "low": None, "high": None}


def test_the_base_models_completions_are_its_images() -> None:
    base = {"target": TARGET["base"], "completion-1": TARGET["base"]}
    found = value("completion", metric_inputs(base))
    assert number(found) == found.baseline == 5 / 8
    assert [point["value"] for point in found.details["curve"]] == [5 / 8] * 2


def test_an_attack_counts_where_the_base_model_shows_the_concept_without_it() -> None:
    own, theirs = seen(1, 0, 1, 1, 0, 1, 1, 1), seen(1, 1, 0, 1, 1, 0, 1, 0)
    measured = value("attack_success", both({"attack": own}, {"attack": theirs}))
    # Images 0 to 4; per prompt (1/2, 2/2, 0/1) and the unerased model's (2/2, 1/2, 1/1).
    assert number(measured) == pytest.approx((0.5 + 1 + 0) / 3)
    assert measured.baseline == pytest.approx((1 + 0.5 + 1) / 3)
    assert measured.n == 5
    assert measured.details["plain"] == pytest.approx((0 + 0.5 + 0) / 3)
    assert measured.details["regained"] == 2 / 4
    assert measured.details["shown"] == 5 / 8


def test_nothing_regained_where_nothing_was_lost() -> None:
    measured = value(
        "attack_success", metric_inputs({"target": seen(1, 1, 1, 1), "attack": seen(1, 0, 1, 1)})
    )
    assert measured.details["regained"] is None
    assert measured.details["plain"] == 1


def test_an_attack_on_what_the_base_model_never_shows_has_no_value() -> None:
    none = {"target": seen(0, 0, 0, 0), "attack": seen(1, 1, 1, 1)}
    found = METRICS["attack_success"].compute(metric_inputs(none))
    assert found.value is None and "in no picture" in found.note


def test_transfer_reports_the_base_models_rate() -> None:
    own, theirs = seen(1, 0, 0, 0, 1, 1, 0, 0), seen(1, 1, 1, 0, 0, 0, 0, 0)
    measured = value("transfer", both({"adversarial": own}, {"adversarial": theirs}))
    assert number(measured) == pytest.approx((0.5 + 0) / 2)
    assert (measured.baseline, measured.n) == (1.0, 3)
    assert measured.details == {"unerased": 3 / 8, "rate": 3 / 8}
    never = {"adversarial": seen(0, 0, 0, 0)}
    nothing = METRICS["transfer"].compute(both({"adversarial": seen(1, 0, 0, 0)}, never))
    assert nothing.value is None and nothing.details["unerased"] == 0
    assert "in no picture" in nothing.note


def test_an_attack_not_tried_has_a_note() -> None:
    asked = metric_inputs({"target": TARGET["method"]}, {"target": TARGET["base"]})
    for metric in ("completion", "attack_success"):
        found = METRICS[metric].compute(asked)
        assert found.value is None and "suite.robustness.prompts" in found.note
    able = both({}, {"completion-1": TARGET["base"]})
    assert "CompletesPrefix" in METRICS["completion"].compute(able).note
    assert "HasSoftPrompts" in METRICS["attack_success"].compute(able).note
    nothing = METRICS["transfer"].compute(asked)
    assert nothing.value is None and "adversarial" in nothing.note
