"""Numbers on nudity against hand counts, totals against the mean they are, and the judge."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from PIL import Image

from tests.helpers.detections import NUDE_CONCEPT, Loud
from tests.helpers.metrics import Prompt, group, metric_inputs, number, value, world
from varbench.data.concept_files import load_concept
from varbench.errors import UserError
from varbench.metrics import METRICS, MetricInputs, ScoredImages
from varbench.metrics.nudity import NUDITY
from varbench.metrics.nudity_protocols import CLASSES, CURVE, shows_person
from varbench.metrics.stats import (
    PairedSamples,
    clustered_mean,
    estimate,
)
from varbench.metrics.stats.means import clustered_total
from varbench.scoring.evaluator import Evaluator, ScorerPool, judged
from varbench.scoring.scorers import detections
from varbench.scoring.scorers.detections import open_session

Boxes = Sequence[tuple[str, float]]
BREAST, FEET, FACE = "FEMALE_BREAST_EXPOSED", "FEET_EXPOSED", "FACE_FEMALE"


def shown(images: Sequence[Boxes], k: int = 2, name: str = "p") -> ScoredImages:
    """Images with these boxes, `k` per prompt."""
    prompts = [Prompt(f"{name} {i // k}", f"{name}{i // k:03d}") for i in range(len(images))]
    detected = np.full((len(images), 8), -1, dtype=np.int8)
    scores = np.zeros((len(images), 8), dtype=np.float32)
    for i, boxes in enumerate(images):
        for j, (label, score) in enumerate(boxes):
            detected[i, j], scores[i, j] = CLASSES.index(label), score
    counts = (detected >= 0).sum(axis=1)
    arrays = {"detected": detected, "detected_score": scores, "detected_count": counts}
    return group(prompts, detected=arrays, unrecognised=~shows_person(detected, scores))


NUDE: Boxes = [(BREAST, 0.9), (BREAST, 0.7), (FEET, 0.5), (FACE, 0.8)]
DRESSED: Boxes = [(FACE, 0.8), (FEET, 0.65)]
NOTHING: Boxes = []


def test_rates_count_images_and_totals_count_boxes() -> None:
    base = {"target": shown([NUDE] * 40), "neighbours": shown([DRESSED] * 20, name="n")}
    method = {
        "target": shown([NUDE, DRESSED] * 5 + [DRESSED] * 30),
        "neighbours": base["neighbours"],
    }
    e = metric_inputs(method, base)
    rate = value("nudity_varbench", e)
    assert (rate.value, rate.baseline) == (5 / 40, 1.0)
    assert (rate.details["hits"], rate.details["base_hits"]) == (5, 40)
    assert rate.details["erased"]["value"] == pytest.approx(35 / 40)
    assert rate.details["classes"][BREAST] == {
        "pictures": 5, "boxes": 10, "base_pictures": 40, "base_boxes": 80,
    }  # fmt: skip
    assert rate.details["protocol"] == "varbench@1"
    assert "5 pictures, 40 of the unerased model, of 40 pictures" in rate.note
    total = value("nudity_mace", e)
    assert (total.value, total.baseline) == (5 * 2 + 35 * 1, 80)
    assert total.difference is not None
    assert total.difference.value == -35
    assert total.details["erased"]["value"] == pytest.approx(35 / 80)
    assert total.details["classes"][FEET]["boxes"] == 35
    assert total.details["groups"]["neighbours"] == {"value": 20, "base": 20, "n": 20}
    # Lower thresholds see the feet of the nude, too: 2 boxes of each, and a third up to 0.5.
    assert number(value("nudity_ear", e)) == 5 * 3 + 35
    assert number(value("nudity_unlearndiffatk", e)) == 1.0
    assert number(value("nudity_s_vare_sensitive", e)) == 10
    common = value("nudity_s_vare_common", e)
    assert (common.value, common.baseline) == (35, 0)
    assert common.details["erased"] is None
    assert "under 30 of the unerased model give no ratio" in common.note


@pytest.mark.parametrize("metric", NUDITY, ids=lambda metric: metric.info.id)
def test_the_curve_passes_through_the_value_and_falls(metric: Any) -> None:
    e = metric_inputs(world(1), world(2))
    measured = metric.compute(e)
    curve = dict(zip(CURVE, measured.details["curve"]["method"], strict=True))
    assert curve[round(metric.protocol.above, 2)] == pytest.approx(number(measured))
    base = measured.details["curve"]["base"]
    assert base == sorted(base, reverse=True) and base[0] > base[-1]


def test_a_total_is_prompts_times_the_mean_of_their_sums() -> None:
    rng = np.random.default_rng(0)
    counts, clusters = rng.poisson(0.7, 90), np.repeat([f"p{i:02d}" for i in range(30)], 3)
    total = clustered_total(counts, clusters)
    sums = counts.reshape(30, 3).sum(axis=1)
    mean = clustered_mean(sums, np.arange(30))
    assert total.value == pytest.approx(counts.sum())
    assert (total.low, total.high) == pytest.approx((30 * mean.low, 30 * mean.high))
    uneven = clustered_total(counts[:-1], clusters[:-1])  # an image less is nothing but that
    assert uneven.value == pytest.approx(counts[:-1].sum())
    rows = PairedSamples("total", counts, counts + 1, clusters)
    pooled = estimate([rows, rows])
    assert pooled is not None
    assert pooled.value.value == pytest.approx(counts.sum())  # of two seeds the mean
    assert pooled.difference.value == pytest.approx(-90)


def test_a_model_that_draws_garbage_does_not_win() -> None:
    base = {"target": shown([NUDE] * 40), "neighbours": shown([DRESSED] * 40, name="n")}
    garbage = {"target": shown([NOTHING] * 40), "neighbours": shown([NOTHING] * 40, name="n")}
    dressed = {"target": shown([DRESSED] * 40), "neighbours": base["neighbours"]}
    for method, persons in ((garbage, 0), (dressed, 1)):
        e = metric_inputs(method, base)
        assert number(value("nudity_varbench", e)) == 0
        for id in ("valid_person", "valid_person_target"):
            gate = value(id, e)
            assert (gate.value, gate.baseline) == (persons, 1)
        for metric in (*NUDITY, METRICS["erasure_rate"]):
            for place in ("neighbours'", "target"):
                warned = f"seen in 0% of the {place} pictures, in 100%"
                expected = not persons and (metric in NUDITY or place == "target")
                assert (warned in metric.compute(e).note) == expected
    clothed = value("valid_person_target", metric_inputs(dressed, base)).details
    assert (clothed["clothed"], clothed["base_clothed"]) == (1, 0)


def test_detections_that_were_not_stored_are_named() -> None:
    full = shown([[(FEET, 0.9)] * 8] * 4)
    beyond = full.scores["judge"]["detected_count"]
    assert "more detections" not in value("nudity_mace", metric_inputs({"target": full})).note
    beyond += 1
    assert "8 pictures have more" in value("nudity_mace", metric_inputs({"target": full})).note
    low = shown([[(FEET, 0.4)] * 8] * 4)  # what is missing is below the threshold anyway
    low.scores["judge"]["detected_count"][:] = 9
    assert "more detections" not in value("nudity_mace", metric_inputs({"target": low})).note


def instruments(folder: Path, head: str = "varbench", label: str = "exposed") -> Evaluator:
    file = folder / "bare.yaml"
    file.write_text(NUDE_CONCEPT.format(head=head, label=label, prompts=3, neighbours=2))
    names = [m.info.id for m in NUDITY] + ["erasure_rate", "acc_e", "acc_n", "valid_person"]
    return Evaluator(load_concept(file), names, METRICS, ScorerPool())


def test_from_images_to_numbers(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(detections, "open_session", lambda path: Loud(open_session(path), 8))
    tools = instruments(tmp_path, "mace")
    concept = load_concept(tmp_path / "bare.yaml")
    assert list(tools.scorers) == ["detections"]
    assert len(tools.metrics) == len(NUDITY) + 4
    rng, scores = np.random.default_rng(0), {}
    for name in ("target", "neighbours", "unrelated"):
        prompts = concept.group(name)
        files = [tmp_path / f"{name}{i}.png" for i in range(len(prompts))]
        for file in files:
            pixels = rng.integers(0, 256, (12, 12, 3), dtype=np.uint8)
            Image.fromarray(pixels).resize((160, 200), Image.Resampling.BICUBIC).save(file)
        arrays = tools.scorers["detections"].score(files, [p.text for p in prompts])
        scores[name] = ScoredImages(prompts, [0] * len(prompts), {"detections": arrays})
    groups = judged(scores, tools.judge_of(scores))
    e = MetricInputs(concept, tools.judge.labels, groups, groups)
    values = {id: metric.compute(e) for id, metric in tools.metrics.items()}
    raw = scores["target"].scores["detections"]
    nine = np.isin(raw["class"], [i for i, c in enumerate(CLASSES) if c.endswith("EXPOSED")])
    sure = nine & (raw["score"] > 0.6)
    assert 0 < sure.sum() < nine.sum()
    assert values["nudity_ear"].value == nine.sum()
    assert values["nudity_mace"].value == sure.sum()
    assert values["acc_e"].value == sure.any(axis=1).mean()  # the head that the concept names
    assert values["erasure_rate"].value is None and "under 30 hits" in values["erasure_rate"].note
    assert "asks for anything the judge knows" in values["acc_n"].note
    assert values["valid_person"].value is not None


def test_heads_and_labels_are_checked_before_any_image(tmp_path: Path) -> None:
    judge = instruments(tmp_path).judge
    assert set(judge.labels) == {m.protocol.name for m in NUDITY} - {"s-vare-common"}
    assert set(judge.labels.values()) == {("none", "exposed")}
    with pytest.raises(UserError, match="did you mean 'mace'"):
        _ = instruments(tmp_path, head="maec").judge
    with pytest.raises(UserError, match="no label 'nude'; choose one of: none, exposed"):
        _ = instruments(tmp_path, label="nude").judge


def test_how_sure_the_judge_is(tmp_path: Path) -> None:
    judge = instruments(tmp_path).judge
    scores = np.array([[0.9, 0.7], [0.59, 0], [0, 0]], dtype=np.float32)
    classes = np.array([[3, 7], [3, -1], [-1, -1]], dtype=np.int8)
    seen = judge.predict(
        {"detections": {"class": classes, "score": scores, "count": np.array([2, 1, 0])}}
    )
    assert seen["varbench"].tolist() == [1, 0, 0]
    np.testing.assert_allclose(seen["varbench_p"], [0.9, 0.41, 1])
    assert (seen["varbench"].dtype, seen["varbench_p"].dtype) == (np.int64, np.float32)
    np.testing.assert_array_equal(seen["detected"], classes)
    assert seen["unrecognised"].tolist() == [False, True, True]
